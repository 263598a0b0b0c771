"""One road for all containers: told apart by contents, and never an exception."""

import base64
import struct
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12
from cryptography.hazmat.primitives.serialization import pkcs7 as pkcs7_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from certwatch.x509.keystores import read
from certwatch.x509.tlv import encode
from tests.support.damage import damaged
from tests.x509.test_crl import make_crl
from tests.x509.test_kubeconfig import CONFIG
from tests.x509.test_openvpn import CLIENT, MIDDLE, PROFILE, ROOT

STORES = Path(__file__).parents[1] / "data/keystores"
JKS, JCEKS, KEYTOOL = ((STORES / f"keytool.{kind}").read_bytes() for kind in ("jks", "jceks", "p12"))
CRL = make_crl()
CLEAR, SEALED = (
    pkcs12.serialize_key_and_certificates(
        b"a", CLIENT.key, CLIENT.certificate, [MIDDLE.certificate], encryption
    )
    for encryption in (NoEncryption(), BestAvailableEncryption(b"changeit"))
)
P7B, P7B_PEM = (
    pkcs7_writer.serialize_certificates([CLIENT.certificate, MIDDLE.certificate], encoding)
    for encoding in (serialization.Encoding.DER, serialization.Encoding.PEM)
)


def pem(label: bytes, data: bytes) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, base64.encodebytes(data), label)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (JKS, "jks"),
        (JCEKS, "jceks"),
        (KEYTOOL, "pkcs12"),
        (CLEAR, "pkcs12"),
        (P7B, "pkcs7"),
        (P7B_PEM, "pkcs7"),
        (b"stray text\n" + pem(b"CMS", P7B), "pkcs7"),
        (CRL, "crl"),
        (pem(b"X509 CRL", CRL), "crl"),
        (CONFIG, "kubeconfig"),
        (PROFILE, "openvpn"),
        (b"MIME-Version: 1.0\nContent-Type: application/pkcs7-mime\n\n" + base64.encodebytes(P7B), "pkcs7"),
    ],
)
def test_a_container_is_known_by_what_is_in_it(data: bytes, kind: str) -> None:
    found = read(data, ["changeit"])
    assert found is not None
    assert (found.format, found.problems) == (kind, ())
    assert found.entries or found.crls


@pytest.mark.parametrize(
    "data", [b"", b"0", ROOT.der, ROOT.pem, ROOT.pem + ROOT.key_pem, b"\x7fELF" + bytes(99)]
)
def test_bare_certificates_and_strange_bytes_are_left_to_others(data: bytes) -> None:
    assert read(data) is None


def test_pkcs7_and_lists_among_bare_certificates_keep_out_of_their_way() -> None:
    found = read(ROOT.pem + P7B_PEM + pem(b"X509 CRL", CRL))
    assert found is not None
    assert [entry.name for entry in found.entries] == ["pkcs7"]
    assert found.crls == (CRL,)


#: With 20 iterations a key instead of 200,000, which no key survives: time is for the damage.
CHEAP = JCEKS.replace(b"\x02\x03\x03\x0d\x40", b"\x02\x03\x00\x00\x14")


@given(damaged(JKS, CHEAP, KEYTOOL, CLEAR, SEALED, P7B, P7B_PEM, CRL))
@settings(deadline=5000)
def test_any_damage_gives_a_result_with_one_line_reasons(data: bytes) -> None:
    found = read(data, ["changeit", "wrong"])
    for problem in found.problems if found else ():
        assert problem.message.isprintable()


@given(
    st.sampled_from([b"", JKS[:12], JCEKS[:30], SEALED[:60], P7B[:30], b"\x30\x80"]), st.binary(max_size=300)
)
def test_any_bytes_after_a_good_beginning_give_a_result(beginning: bytes, rest: bytes) -> None:
    read(beginning + rest, ["changeit"])


def test_megabytes_of_tiny_entries_end_soon() -> None:
    bag = encode(
        0x30, encode(0x06, bytes.fromhex("2a864886f70d010c0a0101")) + encode(0xA0, encode(0x30, b""))
    )
    certificate = CLEAR[CLEAR.index(CLIENT.der) : CLEAR.index(CLIENT.der) + len(CLIENT.der)]
    held = encode(
        0x30, encode(0x06, bytes.fromhex("2a864886f70d01091601")) + encode(0xA0, encode(0x04, certificate))
    )
    shown = encode(0x30, encode(0x06, bytes.fromhex("2a864886f70d010c0a0103")) + encode(0xA0, held))
    data = encode(0x06, bytes.fromhex("2a864886f70d010701"))
    inner = encode(0x30, data + encode(0xA0, encode(0x04, encode(0x30, shown * 200 + bag * 150_000))))
    safes = encode(0x30, data + encode(0xA0, encode(0x04, encode(0x30, inner))))
    entry = struct.pack(">IH", 1, 0) + bytes(8) + bytes(4) + struct.pack(">I", 1) + b"\0\5X.509" + bytes(4)
    for store in (
        encode(0x30, encode(0x02, b"\3") + safes),
        struct.pack(">III", 0xFEEDFEED, 2, 2**31) + entry * 120_000,
    ):
        assert len(store) > 2_500_000
        began = time.process_time()
        found = read(store, ["changeit"])
        assert time.process_time() - began < 5
        assert found is not None
        assert len(found.problems) == 1
