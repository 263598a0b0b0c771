"""CRLs with their entries in buckets: the same word as the library's, and none of its pauses."""

from datetime import timedelta
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from certwatch.plugins.testing import EPOCH, make_ca
from collectors.revocation.crl_index import CRLIndex

HOUR = timedelta(hours=1)
CA = make_ca("CRL CA", key_number=77)
OTHER = make_ca("CRL CA", key_number=78)
SHA256 = hashes.SHA256()
RSA_KEY = rsa.generate_private_key(65537, 2048)


def made(serials: list[int], *, key: Any = CA.key, algorithm: Any = SHA256, **how: Any) -> bytes:
    entries = [
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(EPOCH - place * HOUR)
        .add_extension(x509.CRLReason(x509.ReasonFlags.superseded), critical=False)
        .build()
        for place, serial in enumerate(serials)
    ]
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.certificate.subject)
        .last_update(EPOCH)
        .next_update(EPOCH + HOUR)
        .add_extension(x509.CRLNumber(5), critical=False)
    )
    for each in entries:
        builder = builder.add_revoked_certificate(each)
    return builder.sign(key, algorithm, **how).public_bytes(serialization.Encoding.DER)


NUMBERS = st.integers(min_value=1, max_value=(1 << 159) - 1)


@settings(deadline=None, max_examples=40)
@given(serials=st.lists(NUMBERS, unique=True, max_size=30), others=st.lists(NUMBERS, max_size=5))
def test_it_says_what_the_library_says(serials: list[int], others: list[int]) -> None:
    der = made(serials)
    ours, theirs = CRLIndex(der), x509.load_der_x509_crl(der)
    assert ours.entries == len(serials)
    for serial in [*serials, *others, 0, 1 << 200, -1]:
        found = ours.get_revoked_certificate_by_serial_number(serial)
        wanted = theirs.get_revoked_certificate_by_serial_number(serial) if serial > 0 else None
        assert (found is None) == (wanted is None)
        if found is not None and wanted is not None:
            assert found.serial_number == wanted.serial_number
            assert found.revocation_date_utc == wanted.revocation_date_utc
            assert list(found.extensions) == list(wanted.extensions)
    assert list(ours.extensions) == list(theirs.extensions)
    assert (ours.issuer, ours.last_update_utc) == (theirs.issuer, theirs.last_update_utc)
    assert [each.serial_number for each in ours] == serials


def test_of_thousands_each_is_found_and_no_other() -> None:
    serials = [(1 << 100) + 7919 * n for n in range(5000)]
    entries = [
        x509.RevokedCertificateBuilder().serial_number(each).revocation_date(EPOCH).build()
        for each in serials
    ]
    # Not one by one: that takes the builder a minute.
    builder = x509.CertificateRevocationListBuilder(
        CA.certificate.subject, EPOCH.replace(tzinfo=None), (EPOCH + HOUR).replace(tzinfo=None), [], entries
    )
    der = builder.sign(cast("Any", CA.key), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    index = CRLIndex(der)
    assert index.entries == 5000
    for each in serials[::97]:
        found = index.get_revoked_certificate_by_serial_number(each)
        assert found is not None and found.serial_number == each
        assert index.get_revoked_certificate_by_serial_number(each + 1) is None
    assert index.is_signature_valid(CA.certificate.public_key())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "algorithm", "how"),
    [
        (CA.key, hashes.SHA256(), {}),
        (CA.key, hashes.SHA384(), {}),
        (CA.key, hashes.SHA3_256(), {}),
        (RSA_KEY, hashes.SHA256(), {}),
        (RSA_KEY, hashes.SHA256(), {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)}),
        (ed25519.Ed25519PrivateKey.generate(), None, {}),
        (dsa.generate_private_key(2048), hashes.SHA256(), {}),
    ],
    ids=["ecdsa", "ecdsa-384", "sha3", "rsa", "pss", "ed25519", "dsa"],
)
def test_signatures_of_each_kind_are_verified(key: Any, algorithm: Any, how: dict[str, Any]) -> None:
    der = made([4711, 4712], key=key, algorithm=algorithm, **how)
    assert CRLIndex(der).is_signature_valid(key.public_key())
    damaged = der.replace((4711).to_bytes(2, "big"), (4713).to_bytes(2, "big"), 1)
    assert damaged != der
    assert not CRLIndex(damaged).is_signature_valid(key.public_key())
    for other in (OTHER.key, RSA_KEY, ed25519.Ed25519PrivateKey.generate()):
        if other is not key:
            assert not CRLIndex(der).is_signature_valid(other.public_key())


def test_what_is_no_list_is_refused_whatever_it_is() -> None:
    der = made([1, 2, 3])
    for each in (
        b"",
        b"\x30",
        b"\x30\x03\x02\x01\x01",
        CA.der,
        der[:-1],
        der + b"\0",
        der[:60],
        b"\xff" * 200,
    ):
        with pytest.raises(ValueError):
            CRLIndex(each)


@settings(deadline=None, max_examples=300)
@given(at=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_damage_anywhere_is_an_error_or_another_signature(at: int, byte: int) -> None:
    der = bytearray(made([4711, 1 << 150]))
    changed = at % len(der)
    if der[changed] == byte:
        return
    der[changed] = byte
    try:
        index = CRLIndex(bytes(der))
        index.get_revoked_certificate_by_serial_number(4711)
        valid = index.is_signature_valid(CA.certificate.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass  # of which the collector says that it is no list, or not verified
    else:
        assert not valid
