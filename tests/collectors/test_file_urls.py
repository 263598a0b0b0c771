"""Certificates, containers and CRLs at URLs."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from pydantic import ValidationError

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, collect
from collectors.file import FileCollector, FileConfig
from tests.collectors.test_file import INTERMEDIATE, LEAF, ROOT
from tests.support.web_server import Request, web_server

pytestmark = pytest.mark.anyio

CRL = (
    x509.CertificateRevocationListBuilder()
    .issuer_name(ROOT.certificate.subject)
    .last_update(EPOCH)
    .next_update(EPOCH + timedelta(days=7))
    .add_extension(x509.CRLNumber(5), critical=False)
    .sign(ROOT.key, hashes.SHA256())
    .public_bytes(Encoding.DER)
)
PAGES = {
    "/site.pem": LEAF.chain_pem,
    "/ca.der": ROOT.der,
    "/chain.p7b": pkcs7.serialize_certificates([LEAF.certificate, INTERMEDIATE.certificate], Encoding.DER),
    "/root.crl": CRL,
    "/page.html": b"<html></html>",
    "/profile.ovpn": b"client\nca /etc/hostname\ncert /etc/passwd\n",
}


async def answer(request: Request) -> tuple[int, bytes]:
    if request.target == "/secret.pem":
        return (200, LEAF.pem) if request.headers.get("authorization") == "Bearer abc" else (403, b"")
    body = PAGES.get(request.target)
    return (200, body) if body is not None else (404, b"")


async def look(*urls: Any) -> tuple[dict[str, Observation], list[Incomplete]]:
    """What was seen, by the location without the server, and what could not be looked at."""
    async with web_server(answer) as web:
        sources = [
            {**each, "url": web.url + each["url"]} if isinstance(each, dict) else web.url + each
            for each in urls
        ]
        results = await collect(FileCollector, {"urls": sources})
        seen = {
            str(each.location).replace(web.url, ""): each for each in results if isinstance(each, Observation)
        }
        return seen, [each for each in results if isinstance(each, Incomplete)]


async def test_what_stands_at_a_url_is_read_as_what_lies_on_disk() -> None:
    seen, incomplete = await look("/site.pem", "/ca.der", "/chain.p7b")
    assert {place: each.chain for place, each in seen.items()} == {
        "url:/site.pem": LEAF.chain_der,
        "url:/ca.der": (ROOT.der,),
        "url:/chain.p7b": (LEAF.der, INTERMEDIATE.der),
    }
    assert incomplete == []


async def test_a_crl_is_at_the_place_where_certificates_name_it() -> None:
    seen, _ = await look("/root.crl")
    (crl,) = seen.values()
    assert list(seen) == ["/root.crl"]
    assert (crl.facts["crl_number"], crl.facts["crl_next_update"]) == ("5", "2026-11-08T12:00:00Z")


async def test_one_that_cannot_be_had_is_told_and_retires_nothing() -> None:
    seen, incomplete = await look("/gone.pem", "/page.html", "/site.pem")
    assert seen["url:/gone.pem"].error is not None
    assert seen["url:/gone.pem"].error.kind == "not-found"
    assert [each.error.kind for each in incomplete] == ["not-found"]
    assert seen["url:/page.html"].error is not None
    assert seen["url:/page.html"].error.kind == "no-certificate"
    assert seen["url:/site.pem"].error is None


async def test_what_is_protected_takes_a_token() -> None:
    seen, _ = await look({"url": "/secret.pem", "token": "abc"})
    assert seen["url:/secret.pem"].chain == (LEAF.der,)
    seen, _ = await look("/secret.pem")
    assert seen["url:/secret.pem"].error is not None


async def test_what_is_fetched_names_no_file_of_this_host() -> None:
    seen, _ = await look("/profile.ovpn")
    assert all(each.chain == () for each in seen.values())
    assert any(
        (each.error and "files beside a URL" in each.error.message) or each.error for each in seen.values()
    )
    assert "root:" not in str(seen)


async def test_its_places_stay_while_it_cannot_be_had() -> None:
    pages = dict(PAGES)

    async def changing(request: Request) -> tuple[int, bytes]:
        body = pages.get(request.target)
        return (200, body) if body is not None else (503, b"")

    async with web_server(changing) as web:
        config = FileConfig.model_validate({"urls": [f"{web.url}/root.crl"]})
        collector = FileCollector("test", config, CollectorContext(clock=FakeClock()))
        first = [each async for each in collector.collect()]
        del pages["/root.crl"]
        second = [each async for each in collector.collect()]
    (crl,), (failed,) = first, second
    assert isinstance(crl, Observation)
    assert isinstance(failed, Observation)
    assert (failed.location, failed.error is not None) == (crl.location, True)


@pytest.mark.parametrize(
    "config", [{}, {"urls": ["ftp://x/y"]}, {"urls": ["https://user:pw@x/"]}, {"paths": []}]
)
def test_what_cannot_be_fetched_is_refused_early(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FileConfig.model_validate(config)


async def test_metadata_services_are_not_asked() -> None:
    results = await collect(FileCollector, {"urls": [{"url": "http://169.254.169.254/x.pem", "timeout": 2}]})
    assert [each.error.kind for each in results if isinstance(each, Incomplete)] == ["permission"]
