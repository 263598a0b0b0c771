"""Reading certificates: what cryptography says of the good ones, and something sensible of the bad ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from certwatch.x509 import der
from certwatch.x509.der import read
from certwatch.x509.tlv import encode

ROOT = make_ca()
LEAF = make_certificate(
    issuer=ROOT,
    names=(
        "dns:WWW.example.com",
        "dns:*.example.com",
        "ip:192.0.2.1",
        "ip:2001:db8::1",
        "email:a@b.c",
        "uri:spiffe://x/y",
    ),
    extensions=[
        (x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH, x509.ObjectIdentifier("1.2.3.4")]), False),
        (x509.TLSFeature([x509.TLSFeatureType.status_request]), False),
        (
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(
                        x509.OID_OCSP, x509.UniformResourceIdentifier("http://ocsp.test/")
                    ),
                    x509.AccessDescription(
                        x509.OID_CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.test/i.cer")
                    ),
                ]
            ),
            False,
        ),
        (
            x509.CRLDistributionPoints(
                [
                    x509.DistributionPoint(
                        [x509.UniformResourceIdentifier("http://crl.test/1.crl")], None, None, None
                    )
                ]
            ),
            False,
        ),
    ],
)


def test_a_leaf_says_what_is_in_it() -> None:
    certificate = read(LEAF.der)
    assert certificate.problems == ()
    assert certificate.subject == "CN=WWW.example.com"
    assert certificate.issuer == "CN=Test Root"
    assert certificate.names == (
        "dns:www.example.com",
        "dns:*.example.com",
        "ip:192.0.2.1",
        "ip:2001:db8::1",
        "email:a@b.c",
        "uri:spiffe://x/y",
    )
    assert certificate.serial_number == LEAF.certificate.serial_number
    assert (certificate.not_before, certificate.not_after) == (
        EPOCH - timedelta(days=30),
        EPOCH + timedelta(days=60),
    )
    assert (certificate.key.type, certificate.key.bits, certificate.key.curve) == ("ec", 256, "secp256r1")
    assert certificate.signature_algorithm == "ecdsa-with-SHA256"
    assert certificate.extended_key_usage == ("serverAuth", "1.2.3.4")
    assert certificate.must_staple
    assert certificate.ocsp_urls == ("http://ocsp.test/",)
    assert certificate.issuer_urls == ("http://ca.test/i.cer",)
    assert certificate.crl_urls == ("http://crl.test/1.crl",)
    assert not certificate.is_ca
    assert certificate.key_usage is None


def test_a_ca_says_so_and_has_no_names_of_hosts() -> None:
    certificate = read(make_ca("Example CA", key_number=105, path_length=0).der)
    assert (certificate.is_ca, certificate.path_length, certificate.names) == (True, 0, ())
    assert certificate.key_usage == frozenset({"keyCertSign", "cRLSign"})
    assert certificate.subject_key_id == certificate.authority_key_id


@pytest.mark.parametrize(
    ("kind", "shown"), [("rsa", ("rsa", 2048)), ("ed25519", ("ed25519", 256)), ("ec384", ("ec", 384))]
)
def test_keys_of_every_kind_are_told(kind: str, shown: tuple[str, int]) -> None:
    certificate = read(make_certificate(key_kind=kind).der)
    assert (certificate.key.type, certificate.key.bits) == shown


def test_without_alternative_names_the_common_name_speaks_and_that_is_said() -> None:
    certificate = read(make_certificate(names=(), subject="old.example.com").der)
    assert certificate.names == ("dns:old.example.com",)
    assert certificate.names_from_common_name


def test_a_certificate_and_its_precertificate_have_one_tbs_hash() -> None:
    """RFC 6962, 3.2: the poison there, the SCT list here, all else the same."""
    plain: dict[str, Any] = {"issuer": ROOT, "serial_number": 77}
    poison = (x509.PrecertPoison(), True)
    precertificate = make_certificate(**plain, extensions=[poison])
    assert read(precertificate.der).tbs_sha256 == read(make_certificate(**plain).der).tbs_sha256

    scts = (
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"\x04\x02\0\0"),
        False,
    )
    final = make_certificate(**plain, extensions=[scts])
    assert read(final.der).tbs_sha256 == read(precertificate.der).tbs_sha256
    assert read(final.der).fingerprint_sha256 != read(precertificate.der).fingerprint_sha256


def test_a_nul_inside_a_name_is_seen() -> None:
    raw = LEAF.der.replace(b"WWW.example.com", b"a.test\0.evil.io")
    assert "dns:a.test\\00.evil.io" in read(raw).names


def test_a_name_cannot_write_on_a_terminal() -> None:
    certificate = read(make_certificate(names=("dns:x.test",), subject="a\x1b[31mb\u202ec,d").der)
    assert certificate.subject == "CN=a\\1B[31mb\\E2\\80\\AEc\\,d"


def test_two_common_names_and_odd_string_types_are_read() -> None:
    def attribute(oid: str, tag: int, value: bytes) -> bytes:
        return encode(0x31, encode(0x30, encode(0x06, bytes.fromhex(oid)) + encode(tag, value)))

    from certwatch.x509.names import common_names, distinguished_name

    raw = encode(
        0x30,
        attribute("55040a", 0x14, b"M\xfcller")
        + attribute("550403", 0x1E, "bmp.test".encode("utf-16-be"))
        + attribute("550403", 0x1C, "ucs.test".encode("utf-32-be"))
        + attribute("2a0304", 0x02, b"\x05"),
    )
    assert distinguished_name(raw) == "1.2.3.4=#0205,CN=ucs.test,CN=bmp.test,O=Müller"
    assert common_names(raw) == ["bmp.test", "ucs.test"]


@pytest.mark.parametrize(
    ("tag", "text", "moment"),
    [
        (0x17, b"500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (0x17, b"491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (0x18, b"99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (0x17, b"2601010000Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (0x17, b"260101000000+0100", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        (0x18, b"20260101000000.5Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (0x17, b"260101000060Z", datetime(2026, 1, 1, 0, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_they_are_written(tag: int, text: bytes, moment: datetime) -> None:
    assert der.instant(tag, text) == moment


def test_a_negative_serial_number_is_kept() -> None:
    raw = make_certificate(serial_number=0x11).der.replace(b"\x02\x01\x11", b"\x02\x01\xff", 1)
    certificate = read(raw)
    assert certificate.serial_number == -1
    assert certificate.problems == ()


def test_a_bad_date_takes_nothing_else_with_it() -> None:
    raw = LEAF.der.replace(b"261231120000Z", b"2612311200XXZ")
    certificate = read(raw)
    assert certificate.not_after is None
    assert certificate.names == read(LEAF.der).names
    assert certificate.problems == ("validity: not a time: b'2612311200XXZ'",)


def test_a_certificate_that_is_cut_off_says_how_much_is_missing_and_keeps_what_is_there() -> None:
    certificate = read(LEAF.der[:-300])
    assert certificate.subject == "CN=WWW.example.com"
    assert certificate.not_after == EPOCH + timedelta(days=60)
    assert certificate.problems[0] == "certificate is cut off: 300 bytes are missing"


def test_bytes_after_its_end_are_told() -> None:
    assert read(LEAF.der + b"xyz").problems == ("3 bytes after the certificate's end",)


def test_unreadable_extensions_are_not_the_same_as_no_names() -> None:
    start = LEAF.der.index(bytes.fromhex("551d13")) - 4
    raw = LEAF.der[:start] + b"\x05" * 20 + LEAF.der[start + 20 :]
    certificate = read(raw)
    assert certificate.problems
    assert not certificate.names_from_common_name


@pytest.mark.parametrize(
    "raw", [b"", b"\x30", b"\x30\x00", b"\x30\x80", b"not a certificate", b"\x30\x82\xff\xff" * 1000]
)
def test_garbage_is_a_certificate_of_which_nothing_is_known(raw: bytes) -> None:
    certificate = read(raw)
    assert certificate.problems
    assert certificate.not_after is None


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert read(raw).fingerprint_sha256 == der.fingerprint(raw)


@given(
    flips=st.lists(st.tuples(st.integers(0, len(LEAF.der) - 1), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 40),
)
def test_no_damage_to_a_good_one_makes_it_raise(flips: list[tuple[int, int]], cut: int) -> None:
    raw = bytearray(LEAF.der)
    for index, value in flips:
        raw[index] = value
    certificate = read(bytes(raw[: len(raw) - cut]))
    assert all(name.isprintable() for name in certificate.names)
    assert certificate.subject.isprintable()


def vectors() -> list[Path]:
    """NIST's PKITS and others, from the PyPI package cryptography-vectors, where it is installed."""
    try:
        import cryptography_vectors
    except ImportError:
        return []
    folder = Path(cryptography_vectors.__file__).parent / "x509"
    return sorted(path for path in folder.rglob("*") if path.suffix in (".crt", ".der"))


def test_it_agrees_with_cryptography_on_what_both_can_read() -> None:
    files = vectors()
    if not files:
        pytest.skip("cryptography-vectors is not installed (pip install cryptography-vectors)")
    compared = 0
    for path in files:
        raw = path.read_bytes()
        try:
            theirs = x509.load_der_x509_certificate(raw)
            key = theirs.public_key()
            dates = (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        except Exception as refused:
            assert str(refused), path
            continue
        ours = read(raw)
        assert (ours.not_before, ours.not_after) == dates, path
        assert ours.serial_number == theirs.serial_number, path
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert spki
        if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
            assert ours.key.bits == key.key_size, path
        compared += 1
    assert compared > 300


def test_certificates_back_to_back_are_read_one_by_one_up_to_what_is_none() -> None:
    both = LEAF.der + ROOT.der
    assert der.series(both) == ([LEAF.der, ROOT.der], [])
    assert der.series(both + b"\x30\x03\x02\x01\x00") == ([LEAF.der, ROOT.der], [])
    assert der.series(b"") == ([], [])


def test_a_certificate_that_is_cut_off_in_a_series_is_told_with_its_place() -> None:
    found, problems = der.series(ROOT.der + LEAF.der[:-40])
    assert len(found) == 2
    assert problems == [f"certificate at byte {len(ROOT.der)} is cut off"]


@given(st.binary(max_size=200))
def test_a_series_of_anything_is_answered(data: bytes) -> None:
    der.series(LEAF.der + data)
