"""PKCS#12 as OpenSSL, Java and cryptography write it, and as an attacker does."""

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.x509 import der
from certwatch.x509.containers import Container
from certwatch.x509.pbe import MAX_ITERATIONS
from certwatch.x509.pkcs12 import looks_like, read
from certwatch.x509.tlv import encode
from tests.support.openssl_files import openssl

KEYTOOL = (Path(__file__).parents[1] / "data/keystores/keytool.p12").read_bytes()
ROOT = make_ca()
MIDDLE = make_ca("Middle", issuer=ROOT, key_number=101)
LEAF = make_certificate(issuer=MIDDLE)
OTHER = make_ca("Other", key_number=102)
STRANGER = make_certificate(names=("dns:other.example.com",), key_number=2)


def store(
    encryption: KeySerializationEncryption, issued: Issued = LEAF, name: bytes | None = b"site"
) -> bytes:
    # Out of order, and with one that the chain does not use.
    extra = [OTHER.certificate, ROOT.certificate, MIDDLE.certificate]
    return pkcs12.serialize_key_and_certificates(name, issued.key, issued.certificate, extra, encryption)


def summary(found: Container) -> list[tuple[str, int, str | None]]:
    return [(entry.name, len(entry.certificates), entry.key) for entry in found.entries]


def kinds(found: Container) -> list[str]:
    return [problem.kind for problem in found.problems]


def encryption(passphrase: str, scheme: pkcs12.PBES, mac: hashes.HashAlgorithm) -> KeySerializationEncryption:
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(50)
    return builder.key_cert_algorithm(scheme).hmac_hash(mac).build(passphrase.encode())


@pytest.mark.parametrize("passphrase", ["changeit", "pass wörd", "\U0001f511", "x" * 500])
@pytest.mark.parametrize(
    ("scheme", "mac"),
    [
        (pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1()),  # noqa: S303
        (pkcs12.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA256()),
        (pkcs12.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA512()),
    ],
    ids=["triple des", "aes", "sha512"],
)
def test_old_and_new_encryption_open_with_their_passphrase(
    scheme: pkcs12.PBES, mac: hashes.HashAlgorithm, passphrase: str
) -> None:
    data = store(encryption(passphrase, scheme, mac))
    assert looks_like(data)
    found = read(data, ["wrong", passphrase])
    assert summary(found) == [("", 1, None), ("site", 3, "match")]
    assert found.entries[1].certificates == (LEAF.der, MIDDLE.der, ROOT.der)
    assert found.entries[0].certificates == (OTHER.der,)
    assert found.problems == ()


def test_a_wrong_passphrase_is_told_and_is_no_crash() -> None:
    found = read(store(BestAvailableEncryption(b"changeit")), ["wrong"])
    assert (summary(found), kinds(found)) == ([], ["passphrase"])


def test_what_is_not_encrypted_needs_no_passphrase() -> None:
    found = read(store(NoEncryption()))
    assert summary(found) == [("", 1, None), ("site", 3, "match")]


def test_another_ones_key_is_a_mismatch() -> None:
    # No program writes it: the key's own bytes are exchanged, private and public.
    data = store(NoEncryption())
    for ours, theirs in zip(halves(LEAF), halves(STRANGER), strict=True):
        at = data.rindex(ours)
        data = data[:at] + theirs + data[at + len(ours) :]
    assert ("site", 3, "mismatch") in summary(read(data))


def halves(issued: Issued) -> tuple[bytes, bytes]:
    assert isinstance(issued.key, ec.EllipticCurvePrivateKey)
    return (
        issued.key.private_numbers().private_value.to_bytes(32, "big"),
        issued.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    )


def test_javas_store_has_every_key_and_all_that_is_trusted() -> None:
    found = read(KEYTOOL, ["changeit"])
    assert summary(found) == [("", 2, None), ("root", 1, "match"), ("site", 2, "match")]
    assert {der.read(each).subject for each in found.entries[0].certificates} == {
        "CN=Trusted first",
        "CN=Trusted second",
    }
    assert der.read(found.entries[2].certificates[0]).names == ("dns:site.example.com",)
    assert found.problems == ()


def test_a_java_truststore_is_a_bundle() -> None:
    certificates = [pkcs12.PKCS12Certificate(each.certificate, b"name") for each in (ROOT, OTHER)]
    found = read(
        pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(b"changeit")), ["changeit"]
    )
    assert summary(found) == [("", 2, None)]


def test_entries_without_a_name_are_numbered() -> None:
    assert summary(read(store(NoEncryption(), name=None)))[1] == ("1", 3, "match")


@pytest.mark.integration
@pytest.mark.parametrize(
    "options",
    [
        ["-legacy"],
        [],
        ["-certpbe", "AES-128-CBC", "-keypbe", "AES-192-CBC", "-macalg", "sha384"],
        ["-certpbe", "PBE-SHA1-2DES", "-keypbe", "PBE-SHA1-RC2-128", "-legacy"],
        ["-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-RC2-40", "-legacy", "-macalg", "sha1"],
        ["-certpbe", "PBE-MD5-DES", "-keypbe", "PBE-SHA1-RC2-64", "-legacy"],
        ["-certpbe", "NONE", "-keypbe", "NONE"],
        ["-nomac"],
        ["-nomaciter", "-iter", "1"],
        ["-iter", "100000"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("passphrase", ["changeit", ""])
def test_what_openssl_writes(options: list[str], passphrase: str, tmp_path: Path) -> None:
    (tmp_path / "pem").write_bytes(LEAF.chain_pem + LEAF.key_pem)
    data = openssl(
        *[
            "pkcs12",
            "-export",
            "-in",
            str(tmp_path / "pem"),
            "-name",
            "site",
            "-passout",
            f"pass:{passphrase}",
        ],
        *options,
    )
    found = read(data, [passphrase] if passphrase else [])
    assert [(entry.name, entry.certificates, entry.key) for entry in found.entries] == [
        ("site", (LEAF.der, MIDDLE.der), "match")
    ]
    assert found.problems == ()


@pytest.mark.integration
def test_certificates_in_the_clear_are_read_without_the_passphrase(tmp_path: Path) -> None:
    (tmp_path / "pem").write_bytes(LEAF.pem + LEAF.key_pem)
    data = openssl(
        *["pkcs12", "-export", "-in", str(tmp_path / "pem"), "-name", "site", "-passout", "pass:secret"],
        *["-certpbe", "NONE"],
    )
    found = read(data)
    assert summary(found) == [("site", 1, "encrypted")]
    assert kinds(found) == []


def bomb(iterations: int, *, in_mac: bool) -> bytes:
    """A store that asks for so many iterations, in its MAC or in its encryption."""
    oids = {"data": "2a864886f70d010701", "encrypted": "2a864886f70d010706", "sha1": "2b0e03021a"}
    number = encode(0x02, iterations.to_bytes(8, "big"))

    def oid(name: str) -> bytes:
        return encode(0x06, bytes.fromhex(oids.get(name, name)))

    def content(name: str, inner: bytes) -> bytes:
        return encode(0x30, oid(name) + encode(0xA0, inner))

    parameters = encode(0x30, encode(0x04, b"saltsalt") + number)
    algorithm = encode(0x30, oid("2a864886f70d010c0103") + parameters)
    sealed = encode(0x30, oid("data") + algorithm + encode(0x80, bytes(64)))
    bag = encode(
        0x30,
        oid("2a864886f70d010c0a0103")
        + encode(
            0xA0,
            encode(0x30, oid("2a864886f70d01091601") + encode(0xA0, encode(0x04, LEAF.der))),
        ),
    )
    plain = content("data", encode(0x04, encode(0x30, bag)))
    safes = plain + (b"" if in_mac else content("encrypted", encode(0x30, encode(0x02, b"\0") + sealed)))
    mac = encode(
        0x30,
        encode(0x30, encode(0x30, oid("sha1")) + encode(0x04, bytes(20))) + encode(0x04, b"salt") + number,
    )
    whole = encode(0x02, b"\3") + content("data", encode(0x04, encode(0x30, safes)))
    return encode(0x30, whole + (mac if in_mac else b""))


@pytest.mark.parametrize("iterations", [2**31, 2**62, MAX_ITERATIONS + 1])
@pytest.mark.parametrize("in_mac", [True, False])
def test_a_bomb_of_iterations_is_refused_before_the_work(iterations: int, in_mac: bool) -> None:
    began = time.process_time()
    found = read(bomb(iterations, in_mac=in_mac), ["one", "two"])
    assert time.process_time() - began < 0.5
    assert any(
        problem.kind == "other" and f"asks for {iterations} iterations" in problem.message
        for problem in found.problems
    )
    # What is in the clear is read all the same.
    assert found.entries[0].certificates == (LEAF.der,)


def test_what_is_no_pfx_is_not_taken_for_one() -> None:
    for data in (b"", b"0", LEAF.der, LEAF.pem, encode(0x30, b"")):
        assert not looks_like(data)
        assert read(data).entries == ()


def test_every_truncation_ends_in_one_reason() -> None:
    data = store(BestAvailableEncryption(b"changeit"))
    for length in range(0, len(data), 97):
        found = read(data[:length], ["changeit"])
        assert found.entries == ()
        assert kinds(found) == ["malformed"]


def test_a_certificate_no_strict_parser_takes_is_kept() -> None:
    assert x509.load_der_x509_certificate(LEAF.der)
    data = store(NoEncryption())
    odd = LEAF.der.replace(b"\x17\r2", b"\x17\rX", 1)
    assert odd != LEAF.der
    found = read(data.replace(LEAF.der, odd))
    assert odd in found.entries[-1].certificates or odd in found.entries[0].certificates
