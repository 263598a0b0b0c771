import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca import audit
from certwatch.ca.authority import Authority
from certwatch.ca.crl import revoke
from certwatch.ca.http.ocsp import _in_path
from certwatch.ca.issue import Certified
from certwatch.ca.ocsp_answer import MAX_REQUEST_BYTES, Malformed, hashes_of, read
from certwatch.ca.responder import MALFORMED, ON_DEMAND_AT_ONCE, TRY_LATER, UNAUTHORIZED, Answer, Responder
from certwatch.plugins.testing import FakeClock
from certwatch.x509.tlv import children, encode, expect
from tests.support.cas import URL, authority, issued


@contextmanager
def serving(
    folder: Path, clock: FakeClock | None = None, **more: Any
) -> Iterator[tuple[Authority, Responder]]:
    with authority(folder, clock, url=URL, has_responder=True, intermediate=True, **more) as ca:
        responder = Responder(ca)
        responder.renew(ca)
        yield ca, responder


def request(
    made: Certified, *, algorithm: Any = None, nonce: bytes | None = None, serial: int | None = None
) -> bytes:
    builder = ocsp.OCSPRequestBuilder()
    if serial is None:
        builder = builder.add_certificate(
            made.certificate,
            made.issuer.certificate,
            algorithm or hashes.SHA1(),  # noqa: S303
        )
    else:
        name, key = hashes_of(made.issuer.certificate, "sha1")
        builder = builder.add_certificate_by_hash(name, key, serial, hashes.SHA1())  # noqa: S303
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def ask(responder: Responder, der: bytes, clock: FakeClock) -> Answer:
    now = clock().timestamp()
    asked = read(der)
    return responder.kept(der, now) or responder.ready(der, asked, now) or responder.signed(asked)


def checked(answer: Answer, made: Certified) -> ocsp.OCSPResponse:
    """As a client holds it against the issuer: the delegate is the issuer's, may sign this, and did."""
    response = ocsp.load_der_ocsp_response(answer.der)
    assert response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    [by] = response.certificates
    by.verify_directly_issued_by(made.issuer.certificate)
    assert list(by.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.OCSP_SIGNING
    ]
    assert by.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert response.responder_key_hash == hashes_of(by, "sha1")[1]
    algorithm = response.signature_hash_algorithm
    assert algorithm is not None
    from cryptography.hazmat.primitives.asymmetric import ec

    key = by.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
    return response


def test_good_becomes_revoked_with_the_revocation(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        der = request(made)
        first = ask(responder, der, clock)
        assert checked(first, made).certificate_status is ocsp.OCSPCertStatus.GOOD
        assert ask(responder, der, clock) is first, "it is signed once"
        assert responder.kept(der, clock().timestamp()) is first
        clock.advance(minutes=1)
        revoke(ca, made.serial, "key-compromise", "alice")
        response = checked(ask(responder, der, clock), made)
        assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
        assert response.revocation_reason is x509.ReasonFlags.key_compromise
        assert response.revocation_time_utc == clock()
        assert audit.verify(ca.settings.directory).wrong == []


def test_certificates_name_the_responder_where_there_is_one(tmp_path: Path) -> None:
    with serving(tmp_path) as (ca, _):
        access = issued(ca).certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
        [at] = [each for each in access.value if each.access_method == AuthorityInformationAccessOID.OCSP]
        assert at.access_location.value == f"{URL}/ocsp/2"


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384()])  # noqa: S303
def test_the_answer_names_the_certificate_as_the_request_did(tmp_path: Path, algorithm: Any) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        response = checked(ask(responder, request(made, algorithm=algorithm), clock), made)
        assert response.hash_algorithm.name == algorithm.name
        assert response.serial_number == made.certificate.serial_number


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p384", "ed25519"])
def test_issuers_with_any_kind_of_key_are_told_apart_by_their_hashes(tmp_path: Path, key_type: str) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock, key_type=key_type) as ca:
        responder = Responder(ca)
        responder.renew(ca)
        made = issued(ca)
        assert checked(ask(responder, request(made), clock), made).serial_number


def test_a_nonce_comes_back_and_is_never_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        for nonce in (b"n" * 16, b"m" * 32, b"l" * 128):
            response = checked(ask(responder, request(made, nonce=nonce), clock), made)
            assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce
        assert responder.by_request == {}


def test_a_nonce_that_is_too_short_is_passed_over_and_one_that_is_too_long_is_malformed(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        response = checked(ask(responder, request(made, nonce=b"n" * 8), clock), made)
        assert not list(response.extensions)
        with pytest.raises(Malformed):
            read(request(made, nonce=b"n" * 129))


def test_those_who_ask_with_nonces_cannot_have_the_token_sign_without_end(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        while responder._on_demand.take():
            pass
        answer = responder.signed(read(request(made, nonce=b"n" * 16)))
        assert not list(checked(answer, made).extensions), "the kept one, without"
        assert ON_DEMAND_AT_ONCE < 1000
        unknown = responder.signed(read(request(made, serial=12345)))
        assert unknown is TRY_LATER or ocsp.load_der_ocsp_response(unknown.der)


def test_a_serial_number_that_was_never_given_is_unknown(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        response = checked(ask(responder, request(made, serial=0x1234), clock), made)
        assert response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN


def test_another_cas_certificate_is_none_of_its_business(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with serving(tmp_path / "a", clock) as (_, responder), authority(tmp_path / "b", clock) as other:
        answer = ask(responder, request(issued(other)), clock)
        assert answer is UNAUTHORIZED


def test_an_answer_is_made_anew_when_half_its_life_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        der = request(made)
        first = ask(responder, der, clock)
        clock.advance(hours=2, seconds=-1)
        assert ask(responder, der, clock) is first
        clock.advance(seconds=1)
        second = ask(responder, der, clock)
        assert second is not first
        response = checked(second, made)
        assert response.this_update_utc == clock()
        assert response.next_update_utc == clock() + timedelta(hours=4)


def test_the_delegate_is_renewed_at_half_its_life_and_no_answer_outlives_it(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        first = checked(ask(responder, request(made), clock), made).certificates[0]
        clock.advance(days=6)
        responder.renew(ca)
        assert checked(ask(responder, request(made), clock), made).certificates == [first]
        clock.advance(days=1, hours=2)
        responder.renew(ca)
        [second] = checked(ask(responder, request(made), clock), made).certificates
        assert second != first
        assert second.public_key() == first.public_key()
        # Nobody renews: an answer ends with the certificate of who signed it.
        clock.advance(days=13, hours=22)
        response = checked(ask(responder, request(made), clock), made)
        assert response.next_update_utc is not None
        assert response.next_update_utc <= second.not_valid_after_utc


def test_answers_are_signed_before_they_are_asked_for(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = [issued(ca, f"dns:h{n}.example.com") for n in range(3)]
        responder.presign()
        for each in made:
            der = request(each)
            assert responder.ready(der, read(der), clock().timestamp()) is not None
        clock.advance(hours=1, minutes=30)
        responder.presign()
        der = request(made[0])
        kept = responder.ready(der, read(der), clock().timestamp())
        assert kept is not None
        assert checked(kept, made[0]).this_update_utc == clock()


def test_a_revocation_that_comes_while_an_answer_is_signed_is_not_missed(tmp_path: Path) -> None:
    """An answer read the old state, signed for a while, and was kept after the revocation had cleared the cache."""
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        made = issued(ca)
        sign, inside, go_on = responder._made, threading.Event(), threading.Event()

        def slow(*asked: Any) -> Answer:
            answer = sign(*asked)
            if not inside.is_set():
                inside.set()
                assert go_on.wait(10)
            return answer

        responder._made = slow  # type: ignore[method-assign, assignment]
        answers: list[Answer] = []
        der = request(made)
        thread = threading.Thread(target=lambda: answers.append(responder.signed(read(der))))
        thread.start()
        assert inside.wait(10)
        revoke(ca, made.serial, "superseded", "alice")
        go_on.set()
        thread.join(10)
        assert answers[0].outcome == "revoked"
        assert ask(responder, der, clock).outcome == "revoked"


def test_an_issuer_that_was_made_later_is_answered_for_after_the_next_round(tmp_path: Path) -> None:
    from certwatch.ca.found import found_intermediate

    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        found_intermediate(ca, "Second Issuing", by="operator")
        made = issued(ca)
        assert ask(responder, request(made), clock) is UNAUTHORIZED
        responder.renew(ca)
        assert ask(responder, request(made), clock).outcome == "good"


@given(st.binary(max_size=200))
def test_bytes_from_anybody_are_a_request_or_malformed(data: bytes) -> None:
    try:
        read(data)
    except Malformed:
        pass


@given(st.binary(max_size=300))
def test_a_path_from_anybody_is_a_request_or_none(path: bytes) -> None:
    _in_path(b"/ocsp/1/" + path)
    der = b"0" + path  # as every request begins
    encoded = quote(base64.b64encode(der), safe="").encode()
    assert _in_path(b"/ocsp/1/" + encoded) == der
    assert _in_path(b"/ocsp/1/" + base64.b64encode(der)) == der


def test_malformed_is_said_without_a_signature() -> None:
    response = ocsp.load_der_ocsp_response(MALFORMED.der)
    assert response.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


@pytest.mark.parametrize("count", [2, 10, 5000])
def test_a_request_for_many_certificates_costs_no_signature(tmp_path: Path, count: int) -> None:
    clock = FakeClock()
    with serving(tmp_path, clock) as (ca, responder):
        one = request(issued(ca))
        [(_, tbs)] = children(expect(one, 0x30, "a SEQUENCE"))
        [(_, entry)] = children(tbs)
        many = encode(0x30, encode(0x30, encode(0x30, entry * count)))
        before = responder._on_demand._left
        if len(many) <= MAX_REQUEST_BYTES:
            assert ask(responder, encode(0x30, encode(0x30, encode(0x30, entry))), clock).outcome == "good"
        with pytest.raises(Malformed):
            read(many)
        assert responder._on_demand._left >= before - 1
