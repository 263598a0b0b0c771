"""The dialogue of RFC 8555, as a client has it, with a host that shows what it must."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certwatch.ca import audit
from certwatch.ca.acme import renewal
from certwatch.ca.acts import perform
from certwatch.ca.authority import Authority
from certwatch.ca.key_file import generate
from certwatch.plugins.testing import FakeClock
from tests.support.acme import BASE, Client, acme, csr_text, envelope, jwk, new_key, text, thumbprint
from tests.support.cas import authority
from tests.support.shown_challenges import Host, host

pytestmark = pytest.mark.anyio
WWW = "dns:www.example.com"
PROFILES: dict[str, Any] = {
    "server": {
        "names": [
            {"dns": [".example.com"], "ip": ["127.0.0.0/8"], "wildcards": True, "requesters": ["acme:*"]}
        ]
    }
}


@asynccontextmanager
async def stage(
    folder: Path, *, clock: FakeClock | None = None, profiles: Any = None, **settings: Any
) -> AsyncIterator[tuple[Authority, Client, Host]]:
    from ipaddress import ip_network

    async with host() as shown:
        with authority(folder, clock, intermediate=True, profiles=profiles or PROFILES) as ca:
            settings.setdefault("networks", (ip_network("127.0.0.0/8"),))
            async with acme(
                ca,
                resolvers=(("127.0.0.1", shown.dns_port),),
                http_port=shown.http_port,
                tls_port=shown.tls_port,
                timeout_seconds=5,
                **settings,
            ) as client:
                yield ca, client, shown


async def show(client: Client, shown: Host, order: httpx.Response, *, key: Any = None) -> None:
    """Whatever the challenges of an order ask for."""
    for url in order.json()["authorizations"]:
        said = (await client.post(url)).json()
        name = said["identifier"]["value"]
        for each in said["challenges"]:
            authorization = f"{each['token']}.{text(thumbprint(key or client.key))}"
            if each["type"] == "http-01":
                shown.show_page(each["token"], authorization)
            elif each["type"] == "dns-01":
                shown.show_text(name, authorization)
            else:
                shown.show_certificate(name, authorization)


def problem(answer: httpx.Response, type: str, status: int, *, says: str = "") -> None:
    said = answer.json()
    assert (said["type"], answer.status_code) == (f"urn:ietf:params:acme:error:{type}", status), said
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in said["detail"]


async def obtained(
    client: Client, shown: Host, *names: str, method: str = "http-01", **more: Any
) -> x509.Certificate:
    order = await client.order(*names, **more)
    assert order.status_code == 201, order.text
    await show(client, shown, order)
    await client.prove(order.json(), method)
    made = await client.certificate(order, *names)
    assert made.json()["status"] == "valid", made.text
    answer = await client.post(made.json()["certificate"])
    assert answer.headers["content-type"] == "application/pem-certificate-chain"
    return x509.load_pem_x509_certificates(answer.content)[0]


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("http-01", (WWW, "dns:api.example.com")),
        ("dns-01", (WWW, "dns:*.example.com")),
        ("tls-alpn-01", (WWW,)),
        ("http-01", ("ip:127.0.0.1",)),
        ("tls-alpn-01", ("ip:127.0.0.1",)),
    ],
)
async def test_who_shows_what_it_must_gets_a_certificate(
    tmp_path: Path, method: str, names: tuple[str, ...]
) -> None:
    profiles = {
        "server": {
            "names": [{"dns": ["example.com", ".example.com"], "ip": ["127.0.0.0/8"], "wildcards": True}]
        }
    }
    async with stage(tmp_path, profiles=profiles) as (ca, client, shown):
        await client.register()
        made = await obtained(client, shown, *names, method=method)
        made.verify_directly_issued_by(ca.issuer().certificate)
        san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {str(each.value) for each in san} == {each.partition(":")[2] for each in names}
        [(requester,)] = ca.rows("SELECT requester FROM requests WHERE channel = 'acme'")
        assert requester == f"acme:{text(thumbprint(client.key))}"
        assert audit.verify(ca.settings.directory).wrong == []


async def test_the_directory_says_where_everything_is(tmp_path: Path) -> None:
    async with stage(tmp_path, terms="https://example.com/terms") as (_, client, _shown):
        said = (await client.http.get(f"{BASE}/directory")).json()
        assert said["newOrder"] == f"{BASE}/new-order"
        assert said["renewalInfo"] == f"{BASE}/renewal-info"
        assert said["meta"]["termsOfService"] == "https://example.com/terms"
        problem(await client.register(), "malformed", 400, says="terms")
        assert (await client.register(termsOfServiceAgreed=True)).status_code == 201


async def test_a_nonce_is_good_for_one_request(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        body = envelope(
            client.key, {"url": f"{BASE}/new-order", "nonce": await client.nonce(), "kid": client.kid}, b"{}"
        )
        await client.send(f"{BASE}/new-order", body)
        again = await client.send(f"{BASE}/new-order", body)
        problem(again, "badNonce", 400)
        assert again.headers["replay-nonce"]


async def test_a_request_counts_for_the_url_it_was_signed_for(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        body = envelope(
            client.key, {"url": f"{BASE}/revoke", "nonce": await client.nonce(), "kid": client.kid}, b"{}"
        )
        problem(await client.send(f"{BASE}/new-order", body), "unauthorized", 403)


async def test_a_request_of_somebody_elses_key_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        client.key = new_key()
        problem(await client.order(WWW), "malformed", 400, says="does not verify")


async def test_an_account_is_found_again_by_its_key(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        problem(await client.register(onlyReturnExisting=True), "accountDoesNotExist", 400)
        first = await client.register()
        client.kid = None
        again = await client.register()
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.headers["location"] == again.headers["location"]
        assert again.json()["contact"] == ["mailto:ops@example.com"]


async def test_a_deactivated_account_does_nothing_any_more(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        assert client.kid is not None
        assert (await client.post(client.kid, {"status": "deactivated"})).json()["status"] == "deactivated"
        problem(await client.order(WWW), "unauthorized", 403)


@pytest.mark.parametrize(
    ("contact", "type"),
    [
        (["tel:+123"], "unsupportedContact"),
        (["mailto:a@example.com,b@example.com"], "invalidContact"),
        (["mailto:a@example.com?subject=x"], "invalidContact"),
        ("mailto:a@example.com", "invalidContact"),
        ([7], "unsupportedContact"),
    ],
)
async def test_contacts_are_plain_addresses(tmp_path: Path, contact: Any, type: str) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        problem(await client.register(contact=contact), type, 400)


async def test_an_external_binding_names_the_requester(tmp_path: Path) -> None:
    profiles = {"server": {"names": [{"dns": [".example.com"], "requesters": ["acme:team-a"]}]}}
    async with stage(tmp_path, profiles=profiles, require_binding=True) as (ca, client, shown):
        problem(await client.register(), "externalAccountRequired", 403)
        secret = await anyio.to_thread.run_sync(
            lambda: perform(ca, "bind", {"kid": "team-a", "person": "root"})["hmac_key"]
        )

        def binding(key: str, kid: str = "team-a") -> dict[str, str]:
            raw = jwt.utils.base64url_decode(key)
            header = {"kid": kid, "url": f"{BASE}/new-account"}
            return envelope(raw, header, json.dumps(jwk(client.key)).encode(), "HS256")

        problem(await client.register(externalAccountBinding=binding(text(b"x" * 32))), "unauthorized", 403)
        problem(await client.register(externalAccountBinding=binding(secret, "team-b")), "unauthorized", 403)
        assert (await client.register(externalAccountBinding=binding(secret))).status_code == 201
        await obtained(client, shown, WWW)
        assert ca.rows("SELECT requester FROM requests WHERE channel = 'acme'") == [("acme:team-a",)]
        assert await anyio.to_thread.run_sync(
            lambda: perform(ca, "unbind", {"kid": "team-a", "person": "root"})
        ) == {"accounts": 1}
        problem(await client.order(WWW), "unauthorized", 403)


async def test_a_key_is_changed_with_both_keys_consent(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        new, url = new_key(), f"{BASE}/key-change"

        def inner(key: Any, old: Any) -> dict[str, str]:
            said = json.dumps({"account": client.kid, "oldKey": jwk(old)}).encode()
            return envelope(key, {"url": url, "jwk": jwk(new)}, said)

        problem(await client.post(url, inner(client.key, client.key)), "malformed", 400)
        problem(await client.post(url, inner(new, new)), "malformed", 400, says="oldKey")
        assert (await client.post(url, inner(new, client.key))).status_code == 200
        problem(await client.order(WWW), "malformed", 400)
        former, client.key = client.key, new
        assert (await client.order(WWW)).status_code == 201
        other = Client(client.http, key=former)
        await other.register()
        other_said = json.dumps({"account": other.kid, "oldKey": jwk(former)}).encode()
        taken = await other.post(url, envelope(new, {"url": url, "jwk": jwk(new)}, other_said))
        assert (taken.status_code, taken.headers["location"]) == (409, client.kid)


async def test_names_are_given_by_the_profile_alone(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        answer = await client.order(WWW, "dns:www.example.org", "dns:example.net")
        problem(answer, "rejectedIdentifier", 403, says="www.example.org")
        assert [each["identifier"]["value"] for each in answer.json()["subproblems"]] == [
            "www.example.org",
            "example.net",
        ]


@pytest.mark.parametrize(
    ("payload", "type", "status"),
    [
        ({}, "malformed", 400),
        ({"identifiers": []}, "malformed", 400),
        ({"identifiers": [{"type": "dns"}]}, "malformed", 400),
        ({"identifiers": ["www.example.com"]}, "malformed", 400),
        ({"identifiers": [{"type": "permanent-identifier", "value": "1"}]}, "unsupportedIdentifier", 400),
        ({"identifiers": [{"type": "dns", "value": "a b.example.com"}]}, "rejectedIdentifier", 403),
        ({"identifiers": [{"type": "dns", "value": "*.*.example.com"}]}, "rejectedIdentifier", 403),
        ({"identifiers": [{"type": "ip", "value": "10.0.0"}]}, "malformed", 400),
        ({"identifiers": [{"type": "dns", "value": "a.example.com"}] * 101}, "malformed", 400),
        (
            {"identifiers": [{"type": "dns", "value": "a.example.com"}], "profile": "x"},
            "invalidProfile",
            400,
        ),
        (
            {"identifiers": [{"type": "dns", "value": "a.example.com"}], "notAfter": "2027-01-01T00:00:00Z"},
            "malformed",
            400,
        ),
    ],
)
async def test_orders_that_make_no_sense_are_refused(
    tmp_path: Path, payload: Any, type: str, status: int
) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        problem(await client.post("/new-order", payload), type, status)


@pytest.mark.parametrize(
    ("method", "type", "says"),
    [
        ("http-01", "unauthorized", "answers"),
        ("dns-01", "unauthorized", "has TXT"),
        ("tls-alpn-01", "unauthorized", "acmeIdentifier"),
    ],
)
async def test_what_is_shown_for_another_key_counts_for_nothing(
    tmp_path: Path, method: str, type: str, says: str
) -> None:
    async with stage(tmp_path) as (ca, client, shown):
        await client.register()
        order = await client.order(WWW)
        await show(client, shown, order, key=new_key())
        [said] = await client.prove(order.json(), method)
        assert said["status"] == "invalid"
        [challenge] = said["challenges"]
        assert challenge["error"]["type"] == f"urn:ietf:params:acme:error:{type}"
        assert says in challenge["error"]["detail"]
        after = (await client.post(order.headers["location"])).json()
        assert (after["status"], after["error"]) == ("invalid", challenge["error"])
        problem(await client.certificate(order, WWW), "orderNotReady", 403)
        assert ca.rows("SELECT 1 FROM certificates WHERE profile = 'server'") == []


async def test_nobody_who_shows_nothing_gets_anything(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        order = await client.order(WWW)
        problem(await client.certificate(order, WWW), "orderNotReady", 403)
        for method, type in (("http-01", "connection"), ("dns-01", "dns")):
            order = await client.order(WWW)
            [said] = await client.prove(order.json(), method)
            [challenge] = said["challenges"]
            assert challenge["error"]["type"].rpartition(":")[2] == type


async def test_private_networks_are_asked_only_where_they_are_opened(tmp_path: Path) -> None:
    async with stage(tmp_path, networks=()) as (_, client, shown):
        await client.register()
        for method in ("http-01", "tls-alpn-01"):
            order = await client.order(WWW)
            await show(client, shown, order)
            [said] = await client.prove(order.json(), method)
            [challenge] = said["challenges"]
            assert "loopback" in challenge["error"]["detail"]
        assert shown.asked == []


async def test_metadata_services_are_asked_for_nobody(tmp_path: Path) -> None:
    from ipaddress import ip_network

    async with stage(tmp_path, networks=(ip_network("0.0.0.0/0"),)) as (_, client, shown):
        shown.addresses["www.example.com"] = "169.254.169.254"
        await client.register()
        order = await client.order(WWW)
        [said] = await client.prove(order.json())
        assert "metadata" in said["challenges"][0]["error"]["detail"]


async def test_a_redirect_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, shown):
        await client.register()
        order = await client.order(WWW)
        said = (await client.post(order.json()["authorizations"][0])).json()
        token = said["challenges"][0]["token"]
        shown.pages[f"/.well-known/acme-challenge/{token}"] = (
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
        )
        [after] = await client.prove(order.json())
        assert after["status"] == "invalid"


async def test_the_names_of_the_csr_are_those_of_the_order(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, shown):
        await client.register()
        order = await client.order(WWW)
        await show(client, shown, order)
        await client.prove(order.json())
        more = await client.certificate(order, WWW, "dns:mail.example.com")
        problem(more, "badCSR", 400, says="mail.example.com")
        other = await client.certificate(order, "dns:api.example.com")
        problem(other, "badCSR", 400, says="lacks dns:www.example.com")
        own = await client.certificate(order, csr=csr_text(client.key, [WWW]))
        problem(own, "badCSR", 400, says="account")
        named = csr_text(generate("ec-p256"), [WWW], "CN=mail.example.com")
        problem(await client.certificate(order, csr=named), "badCSR", 400)
        problem(await client.certificate(order, csr=text(b"0\x03\x02\x01")), "badCSR", 400)
        problem(await client.certificate(order, csr="***"), "malformed", 400)
        # Nothing of that used the order up.
        named = csr_text(generate("ec-p256"), [WWW], "CN=www.example.com")
        assert (await client.certificate(order, csr=named)).json()["status"] == "valid"
        problem(await client.certificate(order, WWW), "orderNotReady", 403)


async def test_a_profile_may_want_people_to_approve(tmp_path: Path) -> None:
    profiles = {"server": {**PROFILES["server"], "approvals": 1}}
    async with stage(tmp_path, profiles=profiles) as (ca, client, shown):
        await client.register()
        orders = []
        for _ in range(2):
            order = await client.order(WWW)
            await show(client, shown, order)
            await client.prove(order.json())
            waits = await client.certificate(order, WWW)
            assert (waits.json()["status"], waits.headers["retry-after"]) == ("processing", "5")
            orders.append(order.headers["location"])
        waiting = [id for (id,) in ca.rows("SELECT id FROM requests WHERE state = 'waiting' ORDER BY id")]
        for request, act in zip(waiting, ("approve", "refuse"), strict=True):
            await anyio.to_thread.run_sync(perform, ca, act, {"request": request, "person": "bob"})
        assert (await client.post(orders[0])).json()["status"] == "valid"
        refused = (await client.post(orders[1])).json()
        assert (refused["status"], "refused" in refused["error"]["detail"]) == ("invalid", True)


async def test_what_belongs_to_another_account_is_not_there(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, shown):
        await client.register()
        order = await client.order(WWW)
        await show(client, shown, order)
        await client.prove(order.json())
        made = (await client.certificate(order, WWW)).json()
        stranger = Client(client.http)
        await stranger.register()
        urls = [
            order.headers["location"],
            made["certificate"],
            *made["authorizations"],
            f"{client.kid}/orders",
        ]
        for url in urls:
            assert (await stranger.post(url)).status_code in (403, 404)
        certificate = x509.load_pem_x509_certificates((await client.post(made["certificate"])).content)[0]
        der = text(certificate.public_bytes(serialization.Encoding.DER))
        problem(await stranger.post("/revoke", {"certificate": der}), "unauthorized", 403)
        assert (await client.post(f"{client.kid}/orders")).json()["orders"] == [order.headers["location"]]


async def test_revoked_by_the_account_or_by_the_certificates_own_key(tmp_path: Path) -> None:
    async with stage(tmp_path) as (ca, client, shown):
        await client.register()
        first = await obtained(client, shown, WWW)
        der = text(first.public_bytes(serialization.Encoding.DER))
        problem(await client.post("/revoke", {"certificate": der, "reason": 6}), "badRevocationReason", 400)
        assert (await client.post("/revoke", {"certificate": der, "reason": 1})).status_code == 200
        problem(await client.post("/revoke", {"certificate": der}), "alreadyRevoked", 400)
        order = await client.order(WWW)
        await show(client, shown, order)
        await client.prove(order.json())
        key = new_key()
        made = await client.certificate(order, WWW, key=key)
        pem = (await client.post(made.json()["certificate"])).content
        second = x509.load_pem_x509_certificates(pem)[0]
        der = text(second.public_bytes(serialization.Encoding.DER))
        problem(await client.post("/revoke", {"certificate": der}, by_key=new_key()), "unauthorized", 403)
        assert (await client.post("/revoke", {"certificate": der}, by_key=key)).status_code == 200
        assert sorted(ca.rows("SELECT reason FROM certificates WHERE revoked IS NOT NULL")) == [
            ("key-compromise",),
            ("unspecified",),
        ]
        stranger = text(ca.issuer().certificate.public_bytes(serialization.Encoding.DER))
        assert (await client.post("/revoke", {"certificate": stranger})).status_code in (403, 404)


async def test_renewal_is_suggested_in_time_and_early_after_a_call(tmp_path: Path) -> None:
    clock = FakeClock()
    async with stage(tmp_path, clock=clock, website="https://ca.example.com") as (ca, client, shown):
        await client.register()
        made = await obtained(client, shown, WWW)
        url = f"{BASE}/renewal-info/{renewal.certificate_id(made)}"
        answer = await client.http.get(url)
        window = answer.json()["suggestedWindow"]
        third = (made.not_valid_after_utc - made.not_valid_before_utc) / 3
        start = made.not_valid_after_utc - third
        assert window["start"].startswith(start.isoformat()[:16])
        assert window["start"] < window["end"] < made.not_valid_after_utc.isoformat()
        assert int(answer.headers["retry-after"]) <= 6 * 3600
        clock.advance(hours=1)
        called = {"issuer": None, "why": "drill", "person": "root"}
        assert await anyio.to_thread.run_sync(perform, ca, "renew-now", called) == {"called": 2}
        said = (await client.http.get(url)).json()
        assert said["suggestedWindow"]["end"] <= clock.now.isoformat().replace("+00:00", "Z")
        assert said["explanationURL"] == "https://ca.example.com"
        for wrong, status in (("x", 400), ("AAAA.AQ", 404), (f"{url.rpartition('/')[2]}A", 400)):
            assert (await client.http.get(f"{BASE}/renewal-info/{wrong}")).status_code in (status, 404)


async def test_an_order_says_what_it_replaces_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, shown):
        await client.register()
        made = await obtained(client, shown, WWW)
        replaces = renewal.certificate_id(made)
        problem(await client.order("dns:api.example.com", replaces=replaces), "malformed", 400)
        stranger = Client(client.http)
        await stranger.register()
        problem(await stranger.order(WWW, replaces=replaces), "unauthorized", 403)
        await obtained(client, shown, WWW, replaces=replaces)
        problem(await client.order(WWW, replaces=replaces), "alreadyReplaced", 409)


async def test_rates_are_bounded_and_say_when_to_come_back(tmp_path: Path) -> None:
    clock = FakeClock()
    async with stage(tmp_path, clock=clock, orders_per_hour=3, failures_per_hour=2) as (_, client, _shown):
        await client.register()
        for _ in range(2):
            await client.prove((await client.order(WWW)).json())
        failed = await client.order(WWW)
        problem(failed, "rateLimited", 429, says="failed validations")
        assert 0 < int(failed.headers["retry-after"]) <= 3600
        assert (await client.order("dns:api.example.com")).status_code == 201
        problem(await client.order("dns:api.example.com"), "rateLimited", 429)
        clock.advance(minutes=61)
        assert (await client.order(WWW)).status_code == 201


async def test_an_order_expires(tmp_path: Path) -> None:
    clock = FakeClock()
    async with stage(tmp_path, clock=clock) as (_, client, shown):
        await client.register()
        order = await client.order(WWW)
        await show(client, shown, order)
        await client.prove(order.json())
        clock.advance(hours=25)
        assert (await client.post(order.headers["location"])).json()["status"] == "invalid"
        problem(await client.certificate(order, WWW), "orderNotReady", 403)


async def test_an_authorization_can_be_given_up(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        await client.register()
        order = await client.order(WWW)
        [url] = order.json()["authorizations"]
        assert (await client.post(url, {"status": "deactivated"})).json()["status"] == "deactivated"
        assert (await client.post(order.headers["location"])).json()["status"] == "invalid"


async def test_what_was_under_way_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with stage(tmp_path) as (ca, client, shown):
        await client.register()
        order = await client.order(WWW)
        await show(client, shown, order)
        [url] = order.json()["authorizations"]
        with ca.act() as act:
            act.connection.execute("UPDATE acme_authorizations SET status = 'processing', tried = 'http-01'")
        async with acme(ca, networks=(), resolvers=(), retry_seconds=()) as _again:
            # Its own settings forbid loopback: that is how we see that it looked.
            after = await client.until(url, "invalid", "valid")
        assert after["status"] == "invalid"


async def test_a_crash_between_the_request_and_the_certificate_ends_in_a_certificate(tmp_path: Path) -> None:
    async with stage(tmp_path) as (ca, client, shown):
        await client.register()
        order = await client.order(WWW)
        await show(client, shown, order)
        await client.prove(order.json())
        usual = ca.step

        def crash(step: str) -> None:
            if step == "drafted":
                raise RuntimeError("killed")

        ca.step = crash
        with pytest.raises(RuntimeError):
            await client.certificate(order, WWW)
        ca.step = usual
        assert (await client.post(order.headers["location"])).json()["status"] == "processing"
        async with acme(ca):
            assert (await client.post(order.headers["location"])).json()["status"] == "valid"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"protected": 1}',
        b"[" * 5000,
        b'{"protected":"","payload":"","signature":""}',
    ],
)
async def test_what_is_no_envelope_is_refused(tmp_path: Path, body: bytes) -> None:
    async with stage(tmp_path) as (_, client, _shown):
        answer = await client.http.post(
            f"{BASE}/new-order", content=body, headers={"Content-Type": "application/jose+json"}
        )
        problem(answer, "malformed", 400)
        assert answer.headers["replay-nonce"]
        plain = await client.http.post(f"{BASE}/new-order", content=body)
        assert plain.status_code == 415
        large = await client.http.post(
            f"{BASE}/new-order", content=b"x" * 200_000, headers={"Content-Type": "application/jose+json"}
        )
        assert large.status_code == 413


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    from certwatch.ca.acme import jws

    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5ha"
        "jrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = jws.load_key({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})
    assert jws.encode(key.thumbprint) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_id_of_a_certificate_is_that_of_rfc_9773() -> None:
    # The example of its appendix A.
    assert (
        f"{text(bytes.fromhex('69885B6B87464041E1B37B847BA0AE2CDE01C8D4'))}.{text(bytes.fromhex('0087654321'))}"
        == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    )
    assert renewal._serial_octets(0x87654321).hex() == "0087654321"
    assert hashlib.sha256(b"").digest()


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS1", "ES384", "PS256", "RS256", ""])
async def test_no_other_algorithm_makes_a_request_anothers(tmp_path: Path, alg: str) -> None:
    """With "none" nobody signs, and with HS256 the public key is the secret: both are old ways in."""
    async with stage(tmp_path) as (_, client, _):
        await client.register()
        url = f"{BASE}/new-order"
        protected = {"alg": alg, "kid": client.kid, "url": url, "nonce": await client.nonce()}
        payload = {"identifiers": [{"type": "dns", "value": "www.example.com"}]}
        head, said = (text(json.dumps(each).encode()) for each in (protected, payload))
        public = client.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for signature in (
            b"",
            hmac.digest(public, f"{head}.{said}".encode(), "sha256"),
            bytes(64),
            bytes(96),
        ):
            answer = await client.http.post(
                url,
                content=json.dumps({"protected": head, "payload": said, "signature": text(signature)}),
                headers={"Content-Type": "application/jose+json"},
            )
            assert answer.status_code == 400, answer.text
            assert answer.json()["type"].endswith((":badSignatureAlgorithm", ":malformed"))


async def test_keys_without_an_account_are_bounded_by_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them could become an account, a row and an entry of the ledger."""
    monkeypatch.setattr("certwatch.ca.acme.gate.STRANGERS_AT_ONCE", 3)
    monkeypatch.setattr("certwatch.ca.acme.gate.STRANGERS_A_SECOND", 0.0)
    async with stage(tmp_path) as (ca, client, _):
        for _ in range(3):
            client.key, client.kid = new_key(), None
            assert (await client.register()).status_code == 201
        known, kid = client.key, client.kid
        client.key, client.kid = new_key(), None
        answer = await client.register()
        problem(answer, "rateLimited", 429)
        assert answer.headers["retry-after"] == "60"
        assert ca.rows("SELECT count(*) FROM acme_accounts") == [(3,)]
        # Who has an account goes on.
        client.key, client.kid = known, kid
        assert (await client.post(str(kid))).status_code == 200
