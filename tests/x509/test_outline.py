"""The short way through a certificate says what the long one says, on any bytes."""

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509 import outline as module
from certwatch.x509.der import read
from certwatch.x509.outline import Outline, outline, outline_of
from certwatch.x509.tlv import encode
from tests.x509.test_der import LEAF, ROOT, vectors

PLAIN = make_certificate(issuer=ROOT, names=("dns:www.example.com", "dns:Shop.example.com"))
#: As a CA writes a precertificate: poison in the middle.
PRECERTIFICATE = make_certificate(
    issuer=ROOT,
    names=("dns:www.example.com",),
    extensions=[(x509.PrecertPoison(), True), (x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), False)],
)
SEVERAL = [
    LEAF,
    PLAIN,
    PRECERTIFICATE,
    make_certificate(names=("dns:x_y.example.com", "dns:a" + ".b" * 55 + ".example.com", "ip:192.0.2.1")),
    make_certificate(names=tuple(f"dns:{number}.example.com" for number in range(60))),
    make_certificate(key_kind="rsa", serial_number=0x80 << 64),
    make_certificate(serial_number=1),
]


def by_the_long_way(raw: bytes) -> Outline:
    return outline_of(read(raw))


@pytest.mark.parametrize("issued", SEVERAL, ids=lambda each: str(len(each.der)))
def test_what_cas_write_goes_the_short_way(issued: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nothing is won, and nothing else here would say so."""
    raw: bytes = issued.der  # type: ignore[attr-defined]
    expected = by_the_long_way(raw)

    def no_long_way(der: bytes) -> None:
        raise AssertionError("the long way")

    monkeypatch.setattr(module, "read", no_long_way)
    assert outline(raw) == expected


def test_a_certificate_without_alternative_names_and_a_ca_go_the_long_way() -> None:
    for raw in (make_ca("Some CA").der, make_certificate(names=()).der):
        assert outline(raw) == by_the_long_way(raw)


def test_precertificate_and_certificate_have_one_tbs() -> None:
    assert outline(PRECERTIFICATE.der).tbs_sha256 == read(PRECERTIFICATE.der).tbs_sha256
    assert outline(PRECERTIFICATE.der).tbs_sha256 != outline(PLAIN.der).tbs_sha256


def test_it_agrees_on_every_vector() -> None:
    files = vectors()
    if not files:
        pytest.skip("cryptography-vectors is not installed (pip install cryptography-vectors)")
    for path in files:
        raw = path.read_bytes()
        assert outline(raw) == by_the_long_way(raw), path


@given(st.binary(max_size=300))
def test_it_agrees_on_any_bytes(raw: bytes) -> None:
    assert outline(raw) == by_the_long_way(raw)


@given(
    issued=st.sampled_from(SEVERAL),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 3),
)
def test_it_agrees_on_any_damage(issued: object, flips: list[tuple[int, int]], cut: int) -> None:
    raw = bytearray(issued.der)  # type: ignore[attr-defined]
    for index, value in flips:
        raw[index % len(raw)] = value
    damaged = bytes(raw[: len(raw) - cut])
    assert outline(damaged) == by_the_long_way(damaged), damaged.hex()


def test_it_agrees_whatever_one_byte_is() -> None:
    """Tags and lengths above all."""
    odd = (0, 1, 2, 0x04, 0x1F, 0x30, 0x80, 0x81, 0x82, 0x9F, 0xA0, 0xA3, 0xFF)
    for position, before in enumerate(PLAIN.der):
        for value in {*odd, *((before + step) % 256 for step in (-2, -1, 1, 2))}:
            damaged = PLAIN.der[:position] + bytes([value]) + PLAIN.der[position + 1 :]
            assert outline(damaged) == by_the_long_way(damaged), damaged.hex()


@given(
    subject=st.lists(
        st.tuples(
            st.sampled_from(["550403", "55040a", "55040b", "2a864886f70d010901"]),
            st.sampled_from([0x0C, 0x13, 0x14, 0x16, 0x1E, 0x03]),
            st.binary(max_size=20) | st.from_regex(rb"[a-z #,+]{0,9}", fullmatch=True),
        ),
        max_size=3,
    )
)
def test_it_agrees_on_any_subject(subject: list[tuple[str, int, bytes]]) -> None:
    name = encode(
        0x30,
        b"".join(
            encode(0x31, encode(0x30, encode(0x06, bytes.fromhex(oid)) + encode(tag, value)))
            for oid, tag, value in subject
        ),
    )
    at = PLAIN.der.index(bytes.fromhex("301a311830160603550403"))
    old = PLAIN.der[at : at + 2 + PLAIN.der[at + 1]]
    tbs_length = int.from_bytes(PLAIN.der[6:8], "big") + len(name) - len(old)
    body = PLAIN.der[8:at] + name + PLAIN.der[at + len(old) :]
    raw = (
        b"\x30\x82" + (len(body) + 4).to_bytes(2, "big") + b"\x30\x82" + tbs_length.to_bytes(2, "big") + body
    )
    assert outline(raw) == by_the_long_way(raw)
