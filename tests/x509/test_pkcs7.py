"""PKCS#7 and CMS as OpenSSL and cryptography write them: certificates alone, messages, mail, pieces."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7 as writer

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.pkcs7 import looks_like, looks_like_mail, read, read_mail
from certwatch.x509.tlv import encode
from tests.support.openssl_files import openssl

ROOT = make_ca()
MIDDLE = make_ca("Middle", issuer=ROOT, key_number=101)
LEAF = make_certificate(issuer=MIDDLE)
OTHER = make_ca("Other", key_number=102)


def bag(*certificates: bytes, indefinite: bool = False) -> bytes:
    """ContentInfo of SignedData with nothing but certificates, in this order."""

    def wrap(tag: int, inner: bytes) -> bytes:
        return bytes((tag, 0x80)) + inner + b"\0\0" if indefinite else encode(tag, inner)

    data, signed = (encode(0x06, bytes.fromhex("2a864886f70d01070" + each)) for each in "12")
    content = (
        encode(0x02, b"\1") + encode(0x31, b"") + encode(0x30, data) + wrap(0xA0, b"".join(certificates))
    )
    return wrap(0x30, signed + wrap(0xA0, wrap(0x30, content + encode(0x31, b""))))


def test_a_shuffled_chain_is_put_in_order() -> None:
    data = writer.serialize_certificates(
        [ROOT.certificate, LEAF.certificate, MIDDLE.certificate], serialization.Encoding.DER
    )
    assert looks_like(data)
    (entry,) = read(data).entries
    assert (entry.name, entry.arrangement) == ("", "chain")
    assert entry.certificates == (LEAF.der, MIDDLE.der, ROOT.der)


def test_unrelated_certificates_are_a_bundle() -> None:
    (entry,) = read(bag(ROOT.der, OTHER.der)).entries
    assert (entry.arrangement, entry.certificates) == ("bundle", (ROOT.der, OTHER.der))
    (entry,) = read(bag(ROOT.der, OTHER.der, LEAF.der)).entries
    assert entry.arrangement == "bundle"


def test_indefinite_lengths_give_the_same() -> None:
    ours = bag(LEAF.der, MIDDLE.der, indefinite=True)
    assert looks_like(ours)
    assert read(ours) == read(bag(LEAF.der, MIDDLE.der))


def test_a_damaged_certificate_takes_no_other_with_it() -> None:
    # cryptography refuses such a bag whole.
    odd = encode(0x30, b"\x05\x00")
    (entry,) = read(bag(LEAF.der, odd, MIDDLE.der)).entries
    assert entry.certificates == (LEAF.der, odd, MIDDLE.der)


def test_a_bag_cut_off_keeps_what_was_read() -> None:
    data = bag(LEAF.der, MIDDLE.der, indefinite=True)
    for length in range(len(data)):
        found = read(data[:length])
        assert found.problems or found.entries
    shortened = bag(LEAF.der, MIDDLE.der[:-30])
    found = read(shortened)
    assert [problem.kind for problem in found.problems] == ["malformed"]
    assert found.entries[0].certificates[0] == LEAF.der


def test_what_is_not_signed_data_is_not_taken_for_it() -> None:
    for data in (b"", b"0", b"0\x80", LEAF.der, encode(0x30, encode(0x06, b"\x2a")), LEAF.pem):
        assert not looks_like(data)
        assert read(data).entries == ()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files that openssl is given."""
    (tmp_path / "leaf.pem").write_bytes(LEAF.pem)
    (tmp_path / "chain.pem").write_bytes(LEAF.pem + MIDDLE.pem)
    (tmp_path / "key.pem").write_bytes(LEAF.key_pem)
    (tmp_path / "above.pem").write_bytes(MIDDLE.pem)
    (tmp_path / "message").write_bytes(b"A message.\n" * 1000)
    return tmp_path


def sign(files: Path, *options: str) -> bytes:
    words = ["-in", f"{files}/message", "-signer", f"{files}/leaf.pem", "-inkey", f"{files}/key.pem"]
    return openssl(options[0], "-sign", *words, "-certfile", files / "above.pem", *options[1:])


@pytest.mark.integration
def test_what_crl2pkcs7_writes(files: Path) -> None:
    data = openssl("crl2pkcs7", "-nocrl", "-certfile", files / "chain.pem", "-outform", "DER")
    (entry,) = read(data).entries
    assert entry.certificates == (LEAF.der, MIDDLE.der)


@pytest.mark.integration
@pytest.mark.parametrize("program", ["smime", "cms"])
@pytest.mark.parametrize(
    "options", [[], ["-nodetach"], ["-nodetach", "-stream", "-indef"], ["-binary", "-stream"]], ids=" ".join
)
def test_the_signers_chain_is_in_a_signed_message(files: Path, program: str, options: list[str]) -> None:
    (entry,) = read(sign(files, program, "-outform", "DER", *options)).entries
    assert (entry.certificates, entry.arrangement) == ((LEAF.der, MIDDLE.der), "chain")


@pytest.mark.integration
def test_the_signers_chain_is_in_a_code_signature(files: Path) -> None:
    # What is signed is no data but a digest of the program (SPC_INDIRECT_DATA), as in Windows' catalogues.
    data = sign(files, "cms", "-outform", "DER", "-nodetach", "-econtent_type", "1.3.6.1.4.1.311.2.1.4")
    assert bytes.fromhex("060a2b060104018237020104") in data
    (entry,) = read(data).entries
    assert entry.certificates == (LEAF.der, MIDDLE.der)


@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["-nodetach"], ["-crlfeol"]], ids=" ".join)
def test_the_signers_chain_is_in_signed_mail(files: Path, options: list[str]) -> None:
    data = sign(files, "smime", *options)
    assert looks_like_mail(data)
    found = read_mail(data)
    assert found.problems == ()
    assert found.entries[0].certificates == (LEAF.der, MIDDLE.der)


def test_mail_whose_part_is_no_base64_is_named() -> None:
    data = b"From: x\nContent-Type: application/pkcs7-signature; name=smime.p7s\n\n\x00\x01\n--b\n"
    found = read_mail(data)
    assert found.entries == ()
    assert [problem.kind for problem in found.problems] == ["malformed"]
