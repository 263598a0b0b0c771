"""CRLs: as cryptography reads them, and those that it does not."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given

from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from certwatch.x509.crl import looks_like, read
from certwatch.x509.tlv import encode
from tests.support.damage import damaged

ROOT = make_ca()


def make_crl(*extensions: tuple[x509.ExtensionType, bool], entries: int = 3) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.certificate.subject)
        .last_update(EPOCH)
        .next_update(EPOCH + timedelta(days=7))
    )
    for serial in range(1, entries + 1):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial << 60).revocation_date(EPOCH).build()
        builder = builder.add_revoked_certificate(revoked)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ROOT.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_what_an_inventory_says_of_a_list() -> None:
    data = make_crl((x509.CRLNumber(4711), False))
    assert looks_like(data)
    found = read(data)
    assert (found.issuer, found.number, found.entry_count) == ("CN=Test Root", 4711, 3)
    assert found.issuer_der == ROOT.certificate.subject.public_bytes()
    assert (found.this_update, found.next_update) == (EPOCH, EPOCH + timedelta(days=7))
    assert found.signature_algorithm == "ecdsa-with-SHA256"
    assert (found.is_delta, found.distribution_points, found.covers_only) == (False, (), ())
    assert found.problems == ()


def test_an_empty_list_has_no_entries() -> None:
    assert read(make_crl(entries=0)).entry_count == 0


def test_a_delta_names_the_list_that_it_adds_to() -> None:
    found = read(make_crl((x509.CRLNumber(5), False), (x509.DeltaCRLIndicator(3), True)))
    assert (found.is_delta, found.base_number) == (True, 3)


@pytest.mark.parametrize(("only", "words"), [("user", "user certificates"), ("ca", "CA certificates")])
def test_the_distribution_point_says_where_and_for_what(only: str, words: str) -> None:
    point = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier("http://crl.example.com/1.crl")],
        relative_name=None,
        only_contains_user_certs=only == "user",
        only_contains_ca_certs=only == "ca",
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    found = read(make_crl((point, True)))
    assert found.distribution_points == ("http://crl.example.com/1.crl",)
    assert found.covers_only == (words,)


def test_a_list_that_no_strict_parser_takes_says_what_it_can() -> None:
    data = make_crl((x509.CRLNumber(1), False))
    odd = data.replace(b"\x17\x0d" + EPOCH.strftime("%y%m%d%H%M%SZ").encode(), b"\x17\x0dnot a time ab", 1)
    assert odd != data
    found = read(odd)
    assert (found.this_update, found.number, found.entry_count) == (None, 1, 3)
    assert found.next_update == EPOCH + timedelta(days=7)
    assert len(found.problems) == 1


def test_a_certificate_is_no_list_and_a_list_without_next_update_is_one() -> None:
    assert not looks_like(make_certificate().der)
    assert read(make_certificate().der).problems
    algorithm = encode(0x30, encode(0x06, bytes.fromhex("2a8648ce3d040302")))
    tbs = encode(0x30, algorithm + encode(0x30, b"") + encode(0x18, b"20261101120000Z"))
    found = read(encode(0x30, tbs + algorithm + encode(0x03, b"\0")))
    assert (found.this_update, found.next_update) == (datetime(2026, 11, 1, 12, tzinfo=UTC), None)
    assert found.problems == ()


def test_a_million_entries_are_counted_and_not_kept() -> None:
    entry = encode(0x30, encode(0x02, b"\x11" * 16) + encode(0x17, b"260101000000Z"))
    algorithm = encode(0x30, encode(0x06, bytes.fromhex("2a8648ce3d040302")))
    fields = algorithm + encode(0x30, b"") + encode(0x17, b"260101000000Z")
    data = encode(0x30, encode(0x30, fields + encode(0x30, entry * 1_000_000)) + algorithm)
    began = time.process_time()
    assert read(data).entry_count == 1_000_000
    # 0.2 s on two slow cores; a parser that keeps them takes seconds and hundreds of MiB.
    assert time.process_time() - began < 2


@given(damaged(make_crl((x509.CRLNumber(1), False)), make_crl((x509.DeltaCRLIndicator(1), True))))
def test_any_damage_gives_a_result(data: bytes) -> None:
    looks_like(data)
    read(data)
