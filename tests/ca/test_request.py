from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID
from hypothesis import given, settings

from certwatch.ca.failure import CAError
from certwatch.ca.profiles import BUILT_IN
from certwatch.ca.request import check_key, decoded, load_csr, load_public, order_of, public_bytes
from certwatch.plugins.testing import key
from tests.support.damage import damaged
from tests.support.raw_csr import (
    CN,
    DNS,
    EXTENSIONS,
    PRINTABLE,
    SEQUENCE,
    UTF8,
    alternatives,
    asks_for,
    attribute,
    name,
    raw_csr,
    tlv,
)

NAMES = x509.SubjectAlternativeName([x509.DNSName("www.example.com")])


def csr(
    *extensions: x509.ExtensionType, subject: str = "", attributes: Any = (), with_key: Any = None
) -> bytes:
    name = x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    for oid, value in attributes:
        builder = builder.add_attribute(oid, value)
    return builder.sign(with_key or key("ec", 7), hashes.SHA256()).public_bytes(Encoding.DER)


def order(der: bytes, profile: str = "server") -> Any:
    return order_of(load_csr(der), BUILT_IN[profile], requester="a", submitter="a")


def test_names_and_subject_are_taken_from_it() -> None:
    made = order(csr(NAMES, subject="CN=www.example.com"))
    assert made.names == ("dns:www.example.com",)
    assert made.subject == (("CN", "www.example.com"),)
    assert decoded(made.encoded()) == made


def test_pem_is_as_good_as_der() -> None:
    pem = x509.load_der_x509_csr(csr(NAMES)).public_bytes(Encoding.PEM)
    assert load_csr(b"some text before\n" + pem) == load_csr(csr(NAMES)) or load_csr(pem).is_signature_valid


def test_who_does_not_have_the_key_is_refused() -> None:
    der = bytearray(csr(NAMES))
    der[-1] ^= 1
    with pytest.raises(CAError, match=r"does not have the key|cannot be read"):
        load_csr(bytes(der))


@pytest.mark.parametrize(
    ("extensions", "says"),
    [
        ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),), "usage"),
        ((x509.BasicConstraints(ca=True, path_length=None),), "basic constraints"),
        ((x509.KeyUsage(True, False, False, False, False, True, False, False, False),), "key_cert_sign"),
        ((x509.TLSFeature([x509.TLSFeatureType.status_request]),), "must-staple"),
        ((x509.PrecertPoison(),), "1.3.6.1.4.1.11129"),
        ((x509.SubjectAlternativeName([x509.DirectoryName(x509.Name([]))]),), "kind"),
        ((x509.SubjectAlternativeName([x509.DNSName("a_b.example.com")]),), "host name"),
    ],
)
def test_what_the_profile_does_not_give_is_refused_and_never_dropped(extensions: Any, says: str) -> None:
    with pytest.raises(CAError, match=says) as raised:
        order(csr(*extensions))
    assert raised.value.kind == "refused"


def test_what_the_profile_gives_anyhow_may_be_asked_for() -> None:
    asked = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    assert order(csr(NAMES, asked, usage, x509.BasicConstraints(ca=False, path_length=None))).names


@pytest.mark.parametrize(
    ("subject", "says"),
    [("CN=a,2.5.4.5=123", "2.5.4.5"), ("CN=a+O=b", "several")],
)
def test_a_subject_beyond_what_is_certified_is_refused(subject: str, says: str) -> None:
    with pytest.raises(CAError, match=says):
        order(csr(NAMES, subject=subject))


def test_an_attribute_that_means_nothing_is_refused() -> None:
    with pytest.raises(CAError, match=r"1\.2\.840\.113549\.1\.9\.7"):
        order(csr(NAMES, attributes=[(AttributeOID.CHALLENGE_PASSWORD, b"secret")]))


def test_weak_and_odd_keys_are_refused() -> None:
    for weak in (
        key("rsa1024").public_key(),
        rsa.generate_private_key(3, 2048).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.SECP224R1()).public_key(),
    ):
        with pytest.raises(CAError):
            check_key(load_public(public_bytes(weak)), BUILT_IN["server"])
    check_key(load_public(public_bytes(key("rsa").public_key())), BUILT_IN["server"])


@settings(max_examples=150, deadline=timedelta(seconds=1))
@given(damaged(csr(NAMES, subject="CN=www.example.com"), csr(x509.BasicConstraints(ca=True, path_length=1))))
def test_any_bytes_are_an_order_or_refused(data: bytes) -> None:
    try:
        order(data)
    except CAError as error:
        assert error.kind == "refused"
        assert error.message.isprintable()


def test_a_request_has_a_bound() -> None:
    with pytest.raises(CAError, match="larger"):
        load_csr(bytes(70_000))


WWW = name((CN, tlv(UTF8, b"www.example.com")))


def test_a_second_attribute_that_asks_for_more_is_refused_and_never_dropped() -> None:
    """The library reads the first of them: the names of the other one were passed over in silence."""
    assert order(raw_csr(WWW, [asks_for("www.example.com")])).names == ("dns:www.example.com",)
    with pytest.raises(CAError, match="in two attributes"):
        order(raw_csr(WWW, [asks_for("www.example.com"), asks_for("zzz.example.com")]))


@pytest.mark.parametrize(
    "der",
    [
        raw_csr(name((CN, tlv(UTF8, b"\xff\xfe"))), []),
        raw_csr(name((CN, tlv(0x14, b"www\xe9"))), []),
        raw_csr(name((CN, tlv(0x03, b"\0www"))), []),
        raw_csr(name((CN, tlv(0x02, b"\1"))), []),
        raw_csr(name((CN, tlv(UTF8, "www\u202eexample".encode()))), []),
        raw_csr(name(("2.5.4.6", tlv(PRINTABLE, b"DEU"))), []),
        raw_csr(name(("2.5.4.6", tlv(UTF8, "Ä1".encode()))), []),
        raw_csr(tlv(SEQUENCE, tlv(0x31)), []),
        raw_csr(WWW, [], version=1),
        raw_csr(WWW, [attribute(EXTENSIONS, tlv(SEQUENCE), tlv(SEQUENCE))]),
        raw_csr(WWW, [attribute(EXTENSIONS, tlv(SEQUENCE, alternatives(tlv(DNS, b"\xff"))))]),
        raw_csr(WWW, [attribute(EXTENSIONS, tlv(SEQUENCE, alternatives(tlv(0x87, b"12345"))))]),
        raw_csr(WWW, [asks_for("www.example.com\0.evil.example")]),
        raw_csr(WWW, [asks_for("\N{KELVIN SIGN}.example.com")]),
    ],
)
def test_fields_that_cannot_be_read_are_refused_in_words(der: bytes) -> None:
    with pytest.raises(CAError) as raised:
        order(der, "email")
    assert raised.value.kind == "refused"
    assert raised.value.message.isprintable()
