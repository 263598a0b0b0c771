from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwatch.ca import audit, enrolment
from certwatch.ca.authority import Authority
from certwatch.ca.http.app import public_app, tls_app
from certwatch.ca.http.ra import STRANGERS_AT_ONCE
from certwatch.ca.key_file import generate
from certwatch.ca.new_request import make_csr
from certwatch.plugins.testing import FakeClock
from tests.support.asgi import Client
from tests.support.cas import authority, issued, site_of

PROFILES: dict[str, dict[str, Any]] = {
    "server": {"names": [{"requesters": ["dns:web-*", "web-7"], "dns": [".example.com"]}]},
    "checked": {"usage": "server", "approvals": 2, "names": [{"dns": [".example.com"]}]},
}


@contextmanager
def serving(folder: Path, clock: FakeClock | None = None) -> Iterator[tuple[Authority, Any]]:
    admins = ("email:ann@example.com", "email:bob@example.com", "email:eve@example.com")
    with authority(folder, clock, intermediate=True, profiles=PROFILES, admins=admins) as ca:
        app = tls_app(site_of(ca))

        def client(*names: str, profile: str = "client") -> Client:
            if not names:
                return Client(app)
            made = issued(ca, *names, profile=profile, requester="web-7")
            return Client(app, client_certificate=made.certificate.public_bytes(Encoding.DER))

        yield ca, client
        assert audit.verify(ca.settings.directory).wrong == []


def csr(*names: str) -> str:
    return make_csr(generate("ec-p256"), names, None)


def wanted(*names: str, profile: str = "server") -> dict[str, Any]:
    return {"csr": csr(*names), "profile": profile}


def test_who_has_a_certificate_is_given_another_for_what_is_theirs(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        web = client("dns:web-7.example.com")
        answer = web.post("/ra/requests", json=wanted("dns:www.example.com"))
        assert answer.status_code == 201, answer.text
        body = answer.json()
        leaf, above = x509.load_pem_x509_certificates(body["chain"].encode())
        leaf.verify_directly_issued_by(above)
        shown = web.get(f"/ra/requests/{body['request']}").json()
        assert shown["requester"] == "dns:web-7.example.com"
        assert shown["chain"] == body["chain"]
        refused = web.post("/ra/requests", json=wanted("dns:www.example.org"))
        assert refused.status_code == 403
        assert "does not give this name" in refused.json()["detail"]
        other = client("dns:db-1.example.com")
        assert other.post("/ra/requests", json=wanted("dns:www.example.com")).status_code == 403
        assert other.get(f"/ra/requests/{body['request']}").status_code == 404
        assert other.get("/ra/requests").json() == {"requests": []}


def test_ones_own_requests_are_listed_however_many_others_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound was taken of all requests before those of others were left out."""
    monkeypatch.setattr("certwatch.ca.http.ra.LISTED", 2)
    with serving(tmp_path) as (ca, client):
        for number in range(4):
            issued(ca, f"dns:h{number}.example.com", requester="web-7")
        web = client("dns:web-7.example.com")
        mine = web.post("/ra/requests", json=wanted("dns:www.example.com")).json()["request"]
        assert [each["request"] for each in web.get("/ra/requests").json()["requests"]] == [mine]


def test_nobody_asks_without_saying_who(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        answer = client().post("/ra/requests", json=wanted("dns:www.example.com"))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_one_person_with_two_certificates_has_two_eyes(tmp_path: Path) -> None:
    with serving(tmp_path) as (ca, client):
        ann, bob = client("email:ann@example.com"), client("email:bob@example.com")
        other = client("uri:spiffe://example.com/ann", "email:ann@example.com")
        asked = other.post("/ra/requests", json=wanted("dns:www.example.com", profile="checked"))
        path = f"/ra/requests/{asked.json()['request']}/approve"
        refused = ann.post(path)
        assert refused.status_code == 403
        assert "somebody else must approve it" in refused.json()["detail"]
        assert bob.post(path).json()["needed"] == 1
        # Who granted a token stands behind what is asked with it.
        token = enrolment.grant(
            ca, requester="web-7", profile="checked", names=["dns:www.example.com"], lifetime=timedelta(hours=1), person="ann"
        )  # fmt: skip
        asked = client().post(
            "/ra/requests",
            json=wanted("dns:www.example.com", profile="checked"),
            headers={"Authorization": f"Bearer {token}"},
        )
        path = f"/ra/requests/{asked.json()['request']}/approve"
        assert ann.post(path).status_code == 403
        assert bob.post(path).json()["needed"] == 1


def test_four_eyes_over_http(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        ann, bob, eve = (client(f"email:{name}@example.com") for name in ("ann", "bob", "eve"))
        asked = ann.post("/ra/requests", json=wanted("dns:www.example.com", profile="checked"))
        assert asked.status_code == 202
        request = asked.json()["request"]
        assert asked.headers["location"] == f"/ra/requests/{request}"
        mine = ann.post(f"/ra/requests/{request}/approve")
        assert mine.status_code == 403
        assert "somebody else must approve" in mine.json()["detail"]
        web = client("dns:web-7.example.com")
        assert web.post(f"/ra/requests/{request}/approve").status_code == 403
        assert bob.post(f"/ra/requests/{request}/approve").json()["needed"] == 1
        assert bob.post(f"/ra/requests/{request}/approve").status_code == 403
        [waiting] = bob.get("/ra/requests?state=waiting").json()["requests"]
        assert waiting["approved_by"] == ["email:bob@example.com"]
        issued_ = eve.post(f"/ra/requests/{request}/approve")
        assert issued_.status_code == 201
        assert ann.get(f"/ra/requests/{request}").json()["chain"] == issued_.json()["chain"]
        assert eve.post(f"/ra/requests/{request}/approve").status_code == 400


def test_a_request_is_refused_by_an_admin(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        ann, bob = client("email:ann@example.com"), client("email:bob@example.com")
        request = ann.post("/ra/requests", json=wanted("dns:www.example.com", profile="checked")).json()[
            "request"
        ]
        assert bob.post(f"/ra/requests/{request}/refuse").status_code == 200
        assert ann.get(f"/ra/requests/{request}").json()["state"] == "refused"
        assert bob.post("/ra/requests/999/refuse").status_code == 404


def test_a_certificate_is_revoked_by_who_has_it_or_an_admin(tmp_path: Path) -> None:
    with serving(tmp_path) as (ca, client):
        made = issued(ca, "dns:www.example.com", requester="web-7")
        web, ann = client("dns:web-7.example.com"), client("email:ann@example.com")
        path = f"/ra/certificates/{made.serial}/revoke"
        assert web.post(path, json={"reason": "superseded"}).status_code == 403
        assert ann.post(path, json={"reason": "superseded"}).json()["state"] == "revoked"
        own = x509.load_der_x509_certificate(web.client_certificate)
        assert web.post(f"/ra/certificates/{own.serial_number:032x}/revoke").status_code == 200
        # From now on it opens nothing.
        answer = web.get("/ra/requests")
        assert answer.status_code == 403
        assert "is revoked" in answer.json()["detail"]


def test_only_this_cas_client_certificates_in_force_open_anything(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with serving(tmp_path / "a", clock) as (_, client), authority(tmp_path / "b", clock) as other:
        server = client("dns:web-7.example.com", profile="server")
        assert "not one for clients" in server.get("/ra/requests").json()["detail"]
        foreign = Client(
            server._app,
            client_certificate=issued(
                other, "email:ann@example.com", profile="client"
            ).certificate.public_bytes(Encoding.DER),
        )
        assert "was not made by this CA" in foreign.get("/ra/requests").json()["detail"]
        ann = client("email:ann@example.com")
        assert ann.get("/ra/requests").status_code == 200
        clock.advance(days=91)
        assert "not in force" in ann.get("/ra/requests").json()["detail"]
        assert Client(server._app, client_certificate=b"junk").get("/ra/requests").status_code == 403


def token_for(ca: Authority, *names: str, requester: str = "web-7", **more: Any) -> dict[str, str]:
    more.setdefault("lifetime", timedelta(hours=1))
    token = enrolment.grant(ca, requester=requester, profile="server", names=names, person="ann", **more)
    return {"Authorization": f"Bearer {token}"}


def test_an_enrolment_token_is_good_for_one_request_for_what_it_names(tmp_path: Path) -> None:
    with serving(tmp_path) as (ca, client):
        headers = token_for(ca, "dns:www.example.com")
        beyond = client().post("/ra/requests", json=wanted("dns:mail.example.com"), headers=headers)
        assert beyond.status_code == 403
        assert "is for profile server and the names dns:www.example.com" in beyond.json()["detail"]
        answer = client().post("/ra/requests", json={"csr": csr("dns:www.example.com")}, headers=headers)
        assert answer.status_code == 201, answer.text
        again = client().post("/ra/requests", json={"csr": csr("dns:www.example.com")}, headers=headers)
        assert again.status_code == 403
        assert "was used already" in again.json()["detail"]
        # What it asked for may still be fetched with it.
        assert client().get(f"/ra/requests/{answer.json()['request']}", headers=headers).status_code == 200
        [listed] = client().get("/ra/requests", headers=headers).json()["requests"]
        assert listed["request"] == answer.json()["request"]
        other = token_for(ca, "dns:www.example.com")
        assert client().get("/ra/requests", headers=other).json() == {"requests": []}
        assert client().get(f"/ra/requests/{answer.json()['request']}", headers=other).status_code == 404


def test_a_token_that_has_ended_or_was_changed_or_is_anothers_opens_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, client):
        headers = token_for(ca, "dns:www.example.com")
        good = headers["Authorization"]
        for wrong in (good[:-4] + "AAAA", good.replace(".", "", 1), "Bearer x.y.z", "Bearer " + "a" * 5000):
            answer = client().post(
                "/ra/requests", json=wanted("dns:www.example.com"), headers={"Authorization": wrong}
            )
            assert answer.status_code == 403, wrong
        import jwt

        claims = jwt.decode(good.removeprefix("Bearer "), options={"verify_signature": False})
        unsigned = jwt.encode(claims, "", algorithm="none")
        answer = client().post(
            "/ra/requests",
            json=wanted("dns:www.example.com"),
            headers={"Authorization": f"Bearer {unsigned}"},
        )
        assert answer.status_code == 403
        clock.advance(hours=1)
        answer = client().post("/ra/requests", json=wanted("dns:www.example.com"), headers=headers)
        assert "has ended" in answer.json()["detail"]


def test_who_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        stranger = client()
        statuses = [stranger.get("/ra/requests").status_code for _ in range(STRANGERS_AT_ONCE + 5)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert "retry-after" in stranger.get("/ra/requests").headers


def test_relying_parties_listener_takes_no_requests(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        assert Client(public_app(site_of(ca))).post("/ra/requests", json={}).status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["csr", "profile", "names", "lifetime_seconds", "x"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


def test_bodies_from_anybody_are_answered_with_what_is_wrong(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        web = client("dns:web-7.example.com")

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(JSON)
        def asked(body: Any) -> None:
            answer = web.post("/ra/requests", json=body)
            assert answer.status_code in (400, 403, 429), answer.text

        asked()
        assert web.post("/ra/requests", content=b"{" * 200_000).status_code in (400, 429)
