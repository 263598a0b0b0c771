"""The revocation collector: what it asks, what it remembers, what it makes of the answers."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import Fetcher, FetchPolicy
from certwatch.model.finding import Finding
from certwatch.model.location import LocationURI, aia_location, tls_location
from certwatch.model.observation import Incomplete, Observation, Scan
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca, make_certificate
from collectors.revocation import RevocationCollector, RevocationConfig
from collectors.revocation.kept import KeptLists
from collectors.revocation.list_source import ListSource
from collectors.revocation.wanted import MOST_URLS
from tests.support.raw_http import RawServer, answer, raw_http
from tests.support.serving import INTERMEDIATE, ROOT, served

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


@dataclass
class View:
    """An inventory that holds just these."""

    places: list[Served] = field(default_factory=list)

    def live(self) -> Iterable[Served]:
        return list(self.places)

    def open_findings(self) -> Iterable[Finding]:
        return ()

    def served(self, uri: LocationURI) -> Served | None:
        return None

    def last_scans(self) -> Sequence[Scan]:
        return ()


def leaf(port: int, *, by_ocsp: bool = False, by_crl: bool = False, serial: int = 4711) -> Issued:
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if by_ocsp:
        url = x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}/ocsp")
        described = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, url)
        extensions.append((x509.AuthorityInformationAccess([described]), False))
    if by_crl:
        uri = x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}/ca.crl")
        point = x509.DistributionPoint([uri], None, None, None)
        extensions.append((x509.CRLDistributionPoints([point]), False))
    return make_certificate(issuer=INTERMEDIATE, serial_number=serial, extensions=extensions)


def ocsp_answer(of: Issued, *, good: bool = True, next_update: datetime | None = EPOCH + 10 * HOUR) -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=of.certificate,
        issuer=INTERMEDIATE.certificate,
        algorithm=hashes.SHA1(),  # noqa: S303
        cert_status=ocsp.OCSPCertStatus.GOOD if good else ocsp.OCSPCertStatus.REVOKED,
        this_update=EPOCH,
        next_update=next_update,
        revocation_time=None if good else EPOCH - HOUR,
        revocation_reason=None if good else x509.ReasonFlags.superseded,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, INTERMEDIATE.certificate)
    signed = builder.sign(cast("Any", INTERMEDIATE.key), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def crl(*serials: int, signer: Issued = INTERMEDIATE, number: int = 1) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(EPOCH - HOUR)
        .next_update(EPOCH + 24 * HOUR)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(EPOCH - HOUR)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(cast("Any", signer.key), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def collector(view: View | None, clock: FakeClock, **config: Any) -> RevocationCollector:
    keys = {"allowed_networks": ["127.0.0.0/8"], "timeout": 5, "lint": False, **config}
    return RevocationCollector(
        "revocation", RevocationConfig.model_validate(keys), CollectorContext(clock=clock, view=view)
    )


async def said(it: RevocationCollector) -> dict[str, Observation]:
    async with aclosing(cast("AsyncGenerator[Observation | Incomplete, None]", it.collect())) as stream:
        return {str(each.location): each async for each in stream if isinstance(each, Observation)}


class Answering:
    """A web server whose pages the test changes."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split(b" ")[1]
        found = next((page for name, page in self.pages.items() if path.startswith(name)), None)
        writer.write(answer("404 Not Found") if found is None else answer("200 OK", found))
        await writer.drain()


async def test_a_responders_answer_is_told_and_remembered_for_half_of_its_life() -> None:
    pages, clock = Answering(), FakeClock()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_ocsp=True)
        pages.pages[b"/ocsp"] = ocsp_answer(certificate)
        it = collector(View([served((certificate, INTERMEDIATE))]), clock)
        first = await said(it)
        ((uri, told),) = first.items()
        fingerprint = certificate.certificate.fingerprint(hashes.SHA256()).hex()
        assert uri == f"ocsp://127.0.0.1:{server.port}/ocsp?certificate={fingerprint}"
        assert told.facts["revocation_status"] == "good"
        assert told.facts["certificate_name"] == "www.example.com"
        assert cast("float", told.facts["ocsp_seconds"]) > 0

        clock.advance(hours=4)
        again = await said(it)
        assert "ocsp_seconds" not in again[uri].facts
        assert len(server.requests) == 1

        clock.advance(hours=2)
        await said(it)
        assert len(server.requests) == 2


async def test_a_request_is_a_get_that_the_responder_can_read() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_ocsp=True)
        pages.pages[b"/ocsp"] = ocsp_answer(certificate)
        await said(collector(View([served((certificate, INTERMEDIATE))]), FakeClock()))
        import base64
        from urllib.parse import unquote

        path = server.requests[0].split(b" ")[1].decode()
        asked = ocsp.load_der_ocsp_request(base64.b64decode(unquote(path.removeprefix("/ocsp/"))))
        assert asked.serial_number == 4711


async def test_a_revocation_is_told_by_ocsp_and_by_crl() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_ocsp=True, by_crl=True)
        pages.pages = {b"/ocsp": ocsp_answer(certificate, good=False), b"/ca.crl": crl(1, 4711, 9)}
        found = await said(collector(View([served((certificate, INTERMEDIATE))]), FakeClock()))
        url = f"http://127.0.0.1:{server.port}/ca.crl"
        fingerprint = certificate.certificate.fingerprint(hashes.SHA256()).hex()
        assert found[url].facts["crl_verified"] is True
        assert (found[url].facts["crl_entries"], found[url].facts["crl_kind"]) == (3, "full")
        by_crl = found[f"{url}#{fingerprint}"].facts
        assert (by_crl["revocation_status"], by_crl["revoked_at"]) == ("revoked", "2026-11-01T11:00:00Z")
        by_ocsp = next(each for uri, each in found.items() if uri.startswith("ocsp:")).facts
        assert (by_ocsp["revocation_status"], by_ocsp["revocation_reason"]) == ("revoked", "superseded")


async def test_a_crl_that_no_known_ca_signed_revokes_nothing() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_crl=True)
        forged = crl(4711, signer=make_certificate(names=(), subject="Test Intermediate", key_number=66))
        pages.pages = {b"/ca.crl": forged}
        found = await said(collector(View([served((certificate, INTERMEDIATE))]), FakeClock()))
        (only,) = found.values()
        assert only.facts["crl_verified"] is False


async def test_a_crl_is_fetched_once_for_all_its_certificates_and_asked_for_changes_only() -> None:
    async def give(head: bytes, writer: asyncio.StreamWriter) -> None:
        same = b"If-None-Match" in head
        writer.write(
            b'HTTP/1.1 304 Same\r\nETag: "1"\r\n\r\n' if same else answer("200 OK", crl(5), 'ETag: "1"')
        )

    async with raw_http(give) as server:
        places = [served((leaf(server.port, by_crl=True, serial=n), INTERMEDIATE), id=n) for n in range(3, 7)]
        it = collector(View(places), FakeClock())
        first = await said(it)
        assert len(server.requests) == 1
        second = await said(it)
    assert first.keys() == second.keys()
    assert len(first) == 2
    assert len(server.requests) == 2
    assert b"If-None-Match" in server.requests[1]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://169.254.169.254/latest", "permission"),
        ("http://localhost:1/", "permission"),
        ("http://[x/", "malformed"),
        ("ldap://ldap.example.com/cn=a b", "malformed"),
        ("http://10.1.2.3/", "permission"),
        ("file:///etc/passwd", "malformed"),
    ],
)
async def test_what_a_certificate_names_is_asked_within_bounds(url: str, kind: str) -> None:
    described = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url)
    )
    hostile = make_certificate(
        issuer=INTERMEDIATE, extensions=[(x509.AuthorityInformationAccess([described]), False)]
    )
    found = await said(collector(View([served((hostile, INTERMEDIATE))]), FakeClock()))
    (only,) = found.values()
    assert only.error is not None
    assert only.error.kind == kind


async def test_without_its_issuer_nothing_can_be_asked_and_that_is_said() -> None:
    async with raw_http(Answering()) as server:
        place = served((leaf(server.port, by_ocsp=True),))
        (only,) = (await said(collector(View([place]), FakeClock()))).values()
        assert only.error is not None
        assert "its issuer's certificate is seen nowhere" in only.error.message
        elsewhere = served((INTERMEDIATE, ROOT), id=2, uri=LocationURI("file:///etc/ssl/ca.pem"))
        (only,) = (await said(collector(View([place, elsewhere]), FakeClock()))).values()
        assert only.error is not None
        assert only.error.kind == "not-found"
        assert "404" in only.error.message


async def test_what_it_says_itself_is_not_asked_about_again() -> None:
    async with raw_http(Answering()) as server:
        own = served(
            (leaf(server.port, by_ocsp=True), INTERMEDIATE), uri=LocationURI("ocsp://x/?certificate=00")
        )
        assert await said(collector(View([own]), FakeClock())) == {}


async def test_there_is_nothing_to_follow_without_an_inventory() -> None:
    with pytest.raises(CollectError, match="follows the inventory"):
        await said(collector(None, FakeClock()))


async def test_switched_off_it_asks_neither() -> None:
    async with raw_http(Answering()) as server:
        view = View([served((leaf(server.port, by_ocsp=True, by_crl=True), INTERMEDIATE))])
        assert await said(collector(view, FakeClock(), ocsp=False, crl=False)) == {}
        assert isinstance(server, RawServer)
        assert server.requests == []


def bare_leaf(port: int, path: str = "/ca.crt") -> Issued:
    described = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS,
        x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}{path}"),
    )
    ocsp_at = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}/ocsp")
    )
    return make_certificate(
        issuer=INTERMEDIATE, extensions=[(x509.AuthorityInformationAccess([described, ocsp_at]), False)]
    )


@pytest.mark.parametrize("form", ["der", "pem", "pkcs7"])
async def test_an_issuer_that_is_seen_nowhere_is_fetched_and_lets_its_responder_be_asked(form: str) -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = bare_leaf(server.port)
        pages.pages[b"/ca.crt"] = {
            "der": INTERMEDIATE.der,
            "pem": INTERMEDIATE.pem,
            "pkcs7": serialize_certificates([INTERMEDIATE.certificate], serialization.Encoding.DER),
        }[form]
        pages.pages[b"/ocsp"] = ocsp_answer(certificate)
        told = await said(collector(View([served((certificate,))]), FakeClock()))
    published = told[f"aia:http://127.0.0.1:{server.port}/ca.crt"]
    assert published.chain == (INTERMEDIATE.der,)
    assert [each.facts["revocation_status"] for uri, each in told.items() if uri.startswith("ocsp:")] == [
        "good"
    ]


async def test_an_issuer_that_is_known_is_not_fetched_and_neither_if_nobody_wants_it() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = bare_leaf(server.port)
        pages.pages[b"/ocsp"] = ocsp_answer(certificate)
        pages.pages[b"/ca.crt"] = INTERMEDIATE.der
        await said(collector(View([served((certificate, INTERMEDIATE))]), FakeClock()))
        await said(collector(View([served((certificate,))]), FakeClock(), issuers=False))
        assert not [each for each in server.requests if b"/ca.crt" in each]


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<html>", "malformed"), (None, "other"), (b"0" * (2 << 20), "malformed")]
)
async def test_what_is_published_and_is_no_certificate_is_said(body: bytes | None, kind: str) -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        if body is not None:
            pages.pages[b"/ca.crt"] = body
        told = await said(collector(View([served((bare_leaf(server.port),))]), FakeClock()))
        error = told[f"aia:http://127.0.0.1:{server.port}/ca.crt"].error
    assert error is not None
    assert error.kind in (kind, "not-found")


async def test_a_certificate_that_did_not_sign_it_is_told_and_not_believed() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = bare_leaf(server.port)
        pages.pages[b"/ca.crt"] = make_ca("Test Intermediate", key_number=150).der
        pages.pages[b"/ocsp"] = ocsp_answer(certificate)
        told = await said(collector(View([served((certificate,))]), FakeClock()))
    assert [each.error is not None for uri, each in told.items() if uri.startswith("ocsp:")] == [True]


async def test_what_was_fetched_before_is_told_again_or_it_would_be_taken_for_gone() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = bare_leaf(server.port)
        pages.pages[b"/ca.crt"] = INTERMEDIATE.der
        uri = aia_location(f"http://127.0.0.1:{server.port}/ca.crt")
        it = collector(View([served((certificate,)), served((INTERMEDIATE,), uri=uri)]), FakeClock())
        assert uri in await said(it)
        assert uri in await said(it)


# What a CA has in its books as revoked.

BOOKS = LocationURI("cadb://corp/1267")
REVOKED = {"ca_status": "revoked", "revoked_at": "2026-11-01T11:50:00Z"}


async def test_what_a_ca_has_revoked_is_asked_about_though_nobody_serves_it() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_ocsp=True, by_crl=True)
        pages.pages = {b"/ocsp": ocsp_answer(certificate), b"/ca.crl": crl(1)}
        books = View(
            [
                served((certificate,), uri=BOOKS, facts=REVOKED),
                served(
                    (INTERMEDIATE,), uri=LocationURI("ca-database://corp"), facts={"arrangement": "bundle"}
                ),
            ]
        )
        found = await said(collector(books, FakeClock()))
        fingerprint = certificate.certificate.fingerprint(hashes.SHA256()).hex()
        by_crl = found[f"http://127.0.0.1:{server.port}/ca.crl#{fingerprint}"].facts
        by_ocsp = next(each for uri, each in found.items() if uri.startswith("ocsp:")).facts
        for facts in (by_crl, by_ocsp):
            assert facts["revocation_status"] == "good"
            assert facts["certificate_ca_status"] == "revoked"
            assert facts["certificate_ca_revoked_at"] == "2026-11-01T11:50:00Z"
            assert facts["certificate_location"] == BOOKS


async def test_what_is_only_in_the_books_and_good_there_is_not_asked_about() -> None:
    async with raw_http(Answering()) as server:
        certificate = leaf(server.port, by_ocsp=True, by_crl=True)
        ended = make_certificate(issuer=INTERMEDIATE, not_after=EPOCH - HOUR)
        books = View(
            [
                served((certificate,), uri=BOOKS, facts={"ca_status": "issued"}),
                served((ended,), uri=LocationURI("cadb://corp/02"), facts=REVOKED, id=2),
            ]
        )
        assert await said(collector(books, FakeClock())) == {}
        assert server.requests == []


async def test_a_good_answer_is_not_remembered_once_the_ca_has_revoked_and_the_delay_is_measured() -> None:
    from certwatch.telemetry.metrics import REGISTRY

    def counted() -> float:
        labels = {"source": "ocsp"}
        return REGISTRY.get_sample_value("certwatch_revocation_propagation_seconds_sum", labels) or 0.0

    pages, clock = Answering(), FakeClock()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_ocsp=True)
        pages.pages[b"/ocsp"] = ocsp_answer(certificate)
        site = served((certificate, INTERMEDIATE), id=2)
        view = Remembering([site])
        it = collector(view, clock)
        view.told = await said(it)
        assert len(server.requests) == 1
        view.places.append(served((certificate,), uri=BOOKS, facts=REVOKED))
        view.told = await said(it)
        assert len(server.requests) == 2
        (told,) = view.told.values()
        # It is in use: that is where it is, whatever the books say besides.
        assert told.facts["certificate_location"] == site.location.uri
        pages.pages[b"/ocsp"] = ocsp_answer(certificate, good=False)
        before = counted()
        clock.advance(minutes=5)
        view.told = await said(it)
        assert counted() - before == 15 * 60
        await said(it)
        assert counted() - before == 15 * 60


@dataclass
class Remembering(View):
    told: dict[str, Observation] = field(default_factory=dict)

    def served(self, uri: LocationURI) -> Served | None:
        known = self.told.get(uri)
        return None if known is None else served((), uri=uri, facts=dict(known.facts))


# Lists that are kept.


@dataclass
class Kept(View):
    """An inventory that knows some places more."""

    said: dict[str, Served] = field(default_factory=dict)

    def served(self, uri: LocationURI) -> Served | None:
        return self.said.get(uri)


class Lists:
    """A server of one CRL that knows conditional requests, and can be broken."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.broken = False

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        etag = hashlib.sha256(self.body).hexdigest()[:8]
        if self.broken:
            writer.write(answer("503 Sorry"))
        elif f'"{etag}"'.encode() in head:
            writer.write(f'HTTP/1.1 304 Same\r\nETag: "{etag}"\r\n\r\n'.encode())
        else:
            writer.write(answer("200 OK", self.body, f'ETag: "{etag}"'))


def keeping(view: View, folder: Path, clock: FakeClock) -> RevocationCollector:
    config = RevocationConfig.model_validate(
        {"allowed_networks": ["127.0.0.0/8"], "timeout": 5, "lint": False}
    )
    context = CollectorContext(clock=clock, view=view, state_folder=folder)
    return RevocationCollector("revocation", config, context)


async def test_after_a_restart_a_list_is_asked_for_changes_only(tmp_path: Path) -> None:
    pages = Lists(crl(4711))
    async with raw_http(pages) as server:
        view = View([served((leaf(server.port, by_crl=True), INTERMEDIATE))])
        first = await said(keeping(view, tmp_path, FakeClock()))
        second = await said(keeping(view, tmp_path, FakeClock()))
        assert first.keys() == second.keys() and len(first) == 2
        assert b"If-None-Match" in server.requests[1]
        pages.body = crl(9)
        third = await said(keeping(view, tmp_path, FakeClock()))
        assert len(third) == 1
        fourth = await said(keeping(view, tmp_path, FakeClock()))
        assert fourth.keys() == third.keys()


async def test_what_a_list_revoked_stays_revoked_while_its_server_is_down(tmp_path: Path) -> None:
    # It was retired as no longer seen, and so resolved: at the very moment when nobody could look.
    pages, clock = Lists(crl(4711)), FakeClock()
    async with raw_http(pages) as server:
        view = View([served((leaf(server.port, by_crl=True), INTERMEDIATE))])
        first = await said(keeping(view, tmp_path, clock))
        pages.broken = True
        after_restart = await said(keeping(view, tmp_path, clock))
    assert after_restart.keys() == first.keys()
    url = next(uri for uri in first if "#" not in uri)
    revoked = next(uri for uri in first if "#" in uri)
    error = after_restart[url].error
    assert error is not None and error.kind == "other"
    assert after_restart[revoked].facts["revocation_status"] == "revoked"


async def test_what_a_list_revoked_is_not_taken_back_by_the_lists_end_or_loss() -> None:
    pages, clock = Lists(crl(4711)), FakeClock()
    async with raw_http(pages) as server:
        view = Kept([served((leaf(server.port, by_crl=True), INTERMEDIATE))])
        it = collector(view, clock)
        revoked = next(uri for uri in await said(it) if "#" in uri)
        view.said[revoked] = served((), uri=LocationURI(revoked))
        clock.advance(hours=48)
        ended = await said(it)
        pages.broken = True
        lost = await said(collector(view, clock))
    for found in (ended, lost):
        error = found[revoked].error
        assert error is not None and "the list" in error.message


@pytest.mark.parametrize("damage", [b"", b"[]\n", b'["a","b","c","d","e"]\nx', b"\xff" * 9000])
async def test_a_file_of_another_kind_is_no_kept_list(tmp_path: Path, damage: bytes) -> None:
    pages = Lists(crl(4711))
    async with raw_http(pages) as server:
        view = View([served((leaf(server.port, by_crl=True), INTERMEDIATE))])
        first = await said(keeping(view, tmp_path, FakeClock()))
        (path,) = (tmp_path / "crls").glob("*.crl")
        path.write_bytes(damage)
        assert (await said(keeping(view, tmp_path, FakeClock()))).keys() == first.keys()
        # Its beginning is right, the list is not what was written.
        path.write_bytes(path.read_bytes()[:-5] + b"\0\0\0\0\0")
        assert (await said(keeping(view, tmp_path, FakeClock()))).keys() == first.keys()
        assert (await said(keeping(View(), tmp_path, FakeClock()))) == {}
        assert not list((tmp_path / "crls").glob("*.crl"))


async def test_a_folder_that_cannot_be_written_costs_nothing_but_the_next_fetch(tmp_path: Path) -> None:
    (tmp_path / "crls").write_bytes(b"not a folder")
    pages = Lists(crl(4711))
    async with raw_http(pages) as server:
        view = View([served((leaf(server.port, by_crl=True), INTERMEDIATE))])
        assert len(await said(keeping(view, tmp_path, FakeClock()))) == 2


async def test_a_list_of_a_version_that_there_is_not_is_said(tmp_path: Path) -> None:
    pages = Lists(crl(4711).replace(b"\x02\x01\x01\x30", b"\x02\x01\x05\x30", 1))
    async with raw_http(pages) as server:
        view = View([served((leaf(server.port, by_crl=True), INTERMEDIATE))])
        (only,) = (await said(collector(view, FakeClock()))).values()
    assert only.error is not None and "no CRL" in only.error.message


async def test_an_answer_that_a_cache_has_kept_too_long_is_asked_for_anew_past_the_cache() -> None:
    fresh = [True]

    async def give(head: bytes, writer: asyncio.StreamWriter) -> None:
        posted = head.startswith(b"POST") and fresh[0]
        end = EPOCH + 10 * HOUR if posted else EPOCH + HOUR
        writer.write(answer("200 OK", ocsp_answer(certificate, next_update=end)))

    async with raw_http(give) as server:
        certificate = leaf(server.port, by_ocsp=True)
        clock = FakeClock()
        clock.advance(hours=2)
        view = View([served((certificate, INTERMEDIATE))])
        (good,) = (await said(collector(view, clock))).values()
        fresh[0] = False
        (stale,) = (await said(collector(view, clock))).values()
    assert good.facts["revocation_status"] == "good"
    assert "ocsp_fault" not in good.facts
    assert stale.facts["ocsp_fault"] == "stale"
    assert [each.split(b" ")[0] for each in server.requests] == [b"GET", b"POST"] * 2


@pytest.mark.timeout(120)
async def test_what_a_list_and_an_answer_break_of_their_format_is_told() -> None:
    pages = Answering()
    async with raw_http(pages) as server:
        certificate = leaf(server.port, by_ocsp=True, by_crl=True)
        pages.pages = {b"/ocsp": ocsp_answer(certificate), b"/ca.crl": crl(9)}
        it = collector(View([served((certificate, INTERMEDIATE))]), FakeClock(), lint=True)
        first, second = await said(it), await said(it)
    url = f"http://127.0.0.1:{server.port}/ca.crl"
    for found in (first, second):
        assert found[url].facts["crl_lints"] == "pkix.authority_key_identifier_missing"
        assert "ocsp_lints" not in next(each for uri, each in found.items() if uri.startswith("ocsp:")).facts
    # The linter has ended with the scan.
    assert it._profiles._process is None


def talkative(port: int, count: int) -> Issued:
    """Names so many responders, lists and issuers, each another."""

    def uri(kind: str, number: int) -> x509.UniformResourceIdentifier:
        return x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}/{kind}/{number}")

    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(method, uri(kind, number))
            for number in range(count)
            for kind, method in (
                ("ocsp", AuthorityInformationAccessOID.OCSP),
                ("issuer", AuthorityInformationAccessOID.CA_ISSUERS),
            )
        ]
    )
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint([uri("crl", number)], None, None, None) for number in range(count)]
    )
    unknown = make_ca("Nobody's", key_number=77)
    return make_certificate(issuer=unknown, extensions=[(access, False), (points, False)])


async def test_a_certificate_that_names_thousands_of_urls_has_few_of_them_asked() -> None:
    """Else whoever shows one to certwatch makes it ask whomever they like, at every scan."""
    async with raw_http(Answering()) as server:
        certificate = talkative(server.port, 300)
        it = collector(View([served((certificate,))]), FakeClock())
        told = await said(it)
        assert len(server.requests) <= 3 * MOST_URLS
        assert 0 < len(told) <= 3 * MOST_URLS


async def test_lists_that_would_fill_the_memory_together_are_not_read() -> None:
    first = crl(*range(1000, 1400))
    many = Answering()
    many.pages = {b"/one.crl": first, b"/two.crl": crl(*range(2000, 2400), number=2)}
    async with raw_http(many) as server:
        policy = FetchPolicy.certificates([ip_network("127.0.0.0/8")])
        async with Fetcher(policy) as fetcher:
            source = ListSource(fetcher, KeptLists(None), {}, most_bytes=len(first) + 100)
            base = f"http://127.0.0.1:{server.port}"
            assert (await source.get(f"{base}/one.crl")).index.entries == 400
            with pytest.raises(LookFailed, match="not read: the CRLs of this scan have"):
                await source.get(f"{base}/two.crl")
            # The same list anew takes no second place.
            assert (await source.get(f"{base}/one.crl")).index.entries == 400


async def test_an_issuer_that_is_seen_elsewhere_is_fetched_for_an_endpoint_that_leaves_it_out() -> None:
    """Else what is missing there could not be told from trust that is missing."""
    pages = Answering()
    async with raw_http(pages) as server:

        def published(at: str) -> list[tuple[x509.ExtensionType, bool]]:
            url = x509.UniformResourceIdentifier(f"http://127.0.0.1:{server.port}/{at}")
            described = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url)
            return [(x509.AuthorityInformationAccess([described]), False)]

        lower = make_certificate(
            names=(),
            subject="Lower",
            issuer=INTERMEDIATE,
            is_ca=True,
            key_number=150,
            extensions=published("upper.crt"),
        )
        leaf = make_certificate(issuer=lower, extensions=published("lower.crt"))
        pages.pages = {b"/lower.crt": lower.der, b"/upper.crt": INTERMEDIATE.der}
        complete = served((leaf, lower, INTERMEDIATE))
        elsewhere = tls_location("192.0.2.2", 443, server_name="www.example.com")
        short = served((leaf,), uri=elsewhere)
        aia = {f"aia:http://127.0.0.1:{server.port}/{each}.crt" for each in ("lower", "upper")}
        # Whichever of the two is met first; of a file nothing else is expected.
        assert set(await said(collector(View([complete, short]), FakeClock()))) == aia
        assert set(await said(collector(View([short, complete]), FakeClock()))) == aia
        assert await said(collector(View([complete]), FakeClock())) == {}
        lying = served((leaf,), uri=LocationURI("file:///etc/ssl/cert.pem"))
        assert await said(collector(View([complete, lying]), FakeClock())) == {}
