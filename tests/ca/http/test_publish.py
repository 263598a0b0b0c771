from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from certwatch.ca.acts import perform
from certwatch.ca.certificate import Issuer
from certwatch.ca.crl import refresh, revoke
from certwatch.ca.failure import CAError
from certwatch.ca.http.app import public_app
from certwatch.plugins.testing import FakeClock
from tests.support.asgi import Client
from tests.support.cas import URL, authority, issued, site_of


def test_a_crl_is_fetched_with_what_caches_need_and_changes_with_a_revocation(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock, url=URL, crl_delta=True) as ca:
        client = Client(public_app(site_of(ca)))
        assert client.get("/crl/1/0.crl").status_code == 404
        refresh(ca)
        answer = client.get("/crl/1/0.crl")
        assert answer.headers["content-type"] == "application/pkix-crl"
        assert answer.headers["cache-control"] == "public, no-transform, must-revalidate, max-age=120"
        assert len(x509.load_der_x509_crl(answer.content)) == 0
        for known in (
            {"If-None-Match": answer.headers["etag"]},
            {"If-None-Match": f'"other", W/{answer.headers["etag"]}'},
            {"If-Modified-Since": answer.headers["last-modified"]},
        ):
            again = client.get("/crl/1/0.crl", headers=known)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == answer.headers["etag"]
        clock.advance(minutes=1)
        made = issued(ca)
        revoke(ca, made.serial, "superseded", "alice")
        for path in ("/crl/1/0.crl", "/crl/1/0-delta.crl"):
            fresh = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert fresh.status_code == 200
            [entry] = x509.load_der_x509_crl(fresh.content)
            assert entry.serial_number == made.certificate.serial_number


def test_a_crl_that_ends_soon_is_kept_no_longer_than_it_lasts(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock, url=URL) as ca:
        client = Client(public_app(site_of(ca)))
        refresh(ca)
        clock.advance(days=7, seconds=-30)
        assert "max-age=30" in client.get("/crl/1/0.crl").headers["cache-control"]
        clock.advance(days=1)
        assert "max-age=0" in client.get("/crl/1/0.crl").headers["cache-control"]


def test_the_issuers_certificate_is_fetched(tmp_path: Path) -> None:
    with authority(tmp_path, url=URL) as ca:
        client = Client(public_app(site_of(ca)))
        answer = client.get("/issuer/1.cer")
        assert answer.headers["content-type"] == "application/pkix-cert"
        assert x509.load_der_x509_certificate(answer.content) == ca.issuer().certificate


def test_what_is_not_there_is_said_and_nothing_else_is_told(tmp_path: Path) -> None:
    with authority(tmp_path, url=URL) as ca:
        client = Client(public_app(site_of(ca)))
        for path in ("/crl/9/0.crl", "/crl/x/0.crl", "/issuer/9.cer", "/", "/crl/1/99999999999999999999.crl"):
            answer = client.get(path)
            assert answer.status_code == 404
            assert answer.json()["title"] == "not-found"
        assert client.post("/issuer/1.cer").status_code == 405
        assert client.ask("PUT", "/ocsp/1").status_code == 405


def test_in_an_exercise_one_issuers_responder_is_out_and_the_others_are_not(tmp_path: Path) -> None:
    with authority(tmp_path, url=URL, intermediate=True) as ca:
        client = Client(public_app(site_of(ca)))
        issuers = {each.kind: each for each in ca.issuers()}
        middle, root = issuers["intermediate"], issuers["root"]

        def pause(issuer: Issuer, seconds: float) -> None:
            perform(ca, "pause-ocsp", {"fingerprint": issuer.certificate.fingerprint(SHA256()).hex(), "seconds": seconds})  # fmt: skip

        def asked(issuer: Issuer) -> tuple[int, int]:
            path = f"/ocsp/{issuer.id}"
            return client.post(path, content=b"x").status_code, client.get(f"{path}/eA==").status_code

        pause(middle, 60)
        assert (asked(middle), asked(root)) == ((503, 503), (200, 200))
        for odd in ("/ocsp/", "/ocsp/x/eA==", "/ocsp/99999999999999999999/eA==", "/ocsp/²/eA=="):
            assert client.get(odd).status_code in (200, 404)
        pause(middle, 0)
        assert asked(middle) == (200, 200)
        with pytest.raises(CAError, match="is no intermediate"):
            pause(root, 60)
        with pytest.raises(CAError, match="at most"):
            pause(middle, 1e9)
        with pytest.raises(CAError, match="no issuer with that certificate"):
            perform(ca, "pause-ocsp", {"fingerprint": "00", "seconds": 1})
