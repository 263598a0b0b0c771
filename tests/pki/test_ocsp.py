"""Which OCSP answers are believed."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from certwatch.pki.ocsp import check, request
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from tests.support.serving import INTERMEDIATE, ROOT

LEAF = make_certificate(issuer=INTERMEDIATE)
OTHER = make_certificate(issuer=INTERMEDIATE, key_number=2)
SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
DELEGATE = make_certificate(
    names=(), subject="Responder", issuer=INTERMEDIATE, key_number=3, extensions=[(SIGNING, False)]
)
HOUR = timedelta(hours=1)


def answer(
    *,
    of: Issued = LEAF,
    signer: Issued = INTERMEDIATE,
    issuer: Issued = INTERMEDIATE,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    this_update: datetime = EPOCH - HOUR,
    next_update: datetime | None = EPOCH + HOUR,
    nonce: bytes | None = None,
    sent_along: bool = True,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=of.certificate,
        issuer=issuer.certificate,
        algorithm=digest or hashes.SHA1(),  # noqa: S303
        cert_status=status,
        this_update=this_update,
        next_update=next_update,
        revocation_time=EPOCH - 2 * HOUR if revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if signer is not issuer and sent_along:
        builder = builder.certificates([signer.certificate])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    key: Any = signer.key
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def fault(response: bytes, now: datetime = EPOCH, nonce: bytes | None = None) -> str | None:
    return check(response, LEAF.certificate, INTERMEDIATE.certificate, now, nonce=nonce).fault


def test_the_issuers_own_answer_is_believed() -> None:
    found = check(answer(), LEAF.certificate, INTERMEDIATE.certificate, EPOCH)
    assert (found.status, found.fault, found.delegate) == ("good", None, None)
    assert (found.this_update, found.next_update) == (EPOCH - HOUR, EPOCH + HOUR)


def test_so_is_its_delegates_and_the_delegate_is_known() -> None:
    found = check(answer(signer=DELEGATE), LEAF.certificate, INTERMEDIATE.certificate, EPOCH)
    assert (found.status, found.fault, found.delegate) == ("good", None, DELEGATE.der)


def test_a_revocation_has_its_time_and_reason() -> None:
    found = check(
        answer(status=ocsp.OCSPCertStatus.REVOKED), LEAF.certificate, INTERMEDIATE.certificate, EPOCH
    )
    assert (found.status, found.reason, found.revoked_at) == ("revoked", "keyCompromise", EPOCH - 2 * HOUR)


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384()])
def test_the_certificate_may_be_named_by_any_digest(digest: hashes.HashAlgorithm) -> None:
    assert fault(answer(digest=digest)) is None


NOT_APPOINTED = make_certificate(names=(), subject="Responder", issuer=INTERMEDIATE, key_number=3)
OF_ANOTHER = make_certificate(
    names=(), subject="Responder", issuer=ROOT, key_number=3, extensions=[(SIGNING, False)]
)
EXPIRED = make_certificate(
    names=(),
    subject="Responder",
    issuer=INTERMEDIATE,
    key_number=3,
    not_after=EPOCH - HOUR,
    extensions=[(SIGNING, False)],
)
TWIN = make_ca("Test Intermediate", key_number=9)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (answer(of=OTHER), "other-certificate"),
        (answer(issuer=TWIN, signer=TWIN), "other-certificate"),
        (answer(signer=NOT_APPOINTED), "delegate"),
        (answer(signer=EXPIRED), "delegate"),
        (answer(signer=OF_ANOTHER), "signer"),
        (answer(signer=DELEGATE, sent_along=False), "signer"),
        (answer(this_update=EPOCH + HOUR, next_update=None), "early"),
        (answer(next_update=EPOCH - timedelta(seconds=1)), "stale"),
        (answer(nonce=b"1" * 32), "nonce"),
        (
            ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
                serialization.Encoding.DER
            ),
            "unsuccessful",
        ),
        (b"<html>", "malformed"),
        (b"", "malformed"),
    ],
)
def test_an_answer_that_must_not_be_believed_has_its_fault(response: bytes, why: str) -> None:
    assert fault(response, nonce=b"2" * 32) == why


def test_a_nonce_that_is_absent_is_no_fault() -> None:
    assert fault(answer(), nonce=b"2" * 32) is None
    assert fault(answer(nonce=b"2" * 32), nonce=b"2" * 32) is None


def test_an_altered_answer_does_not_verify() -> None:
    altered = bytearray(answer())
    altered[-3] ^= 1
    assert fault(bytes(altered)) in ("signature", "malformed")


def test_a_request_names_the_certificate_and_carries_a_nonce_if_asked() -> None:
    der = request(LEAF.certificate, INTERMEDIATE.certificate, b"n" * 32)
    read = ocsp.load_der_ocsp_request(der)
    assert read.serial_number == LEAF.certificate.serial_number
    assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    assert len(request(LEAF.certificate, INTERMEDIATE.certificate)) < 100


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_raises_and_none_turns_into_good_news(damage: list[tuple[int, int]]) -> None:
    whole = answer(signer=DELEGATE, status=ocsp.OCSPCertStatus.REVOKED)
    data = bytearray(whole)
    for at, value in damage:
        data[at % len(data)] = value
    found = check(bytes(data), LEAF.certificate, INTERMEDIATE.certificate, EPOCH)
    assert found.fault is not None or found.status == "revoked"


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    assert fault(data) is not None
