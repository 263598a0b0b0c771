"""Blocks of PEM in the files that people have."""

import base64
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.pem import Block, blocks

ROOT = make_ca()
LEAF = make_certificate(issuer=ROOT)


def only(data: bytes) -> Block:
    (block,) = blocks(data)
    return block


def test_many_blocks_with_text_between_come_in_order() -> None:
    data = b"# my site\n" + LEAF.pem + b"stray text\n" + LEAF.key_pem + ROOT.pem
    found = list(blocks(data))
    assert [block.label for block in found] == ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE"]
    assert (found[0].data, found[2].data) == (LEAF.der, ROOT.der)
    assert found[1].is_private_key
    assert found[0].line == 2


@pytest.mark.parametrize(
    "data",
    [
        LEAF.pem.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + LEAF.pem,
        LEAF.pem.rstrip(b"\n"),
        b"\n".join(b"    " + line for line in LEAF.pem.splitlines()),
        LEAF.pem.replace(b"BEGIN CERTIFICATE", b"BEGIN X509 CERTIFICATE").replace(
            b"END CERTIFICATE", b"END X509 CERTIFICATE"
        ),
        LEAF.pem.replace(b"-----\n", b"-----\nComment: by hand\nX-More: a\n b\n\n", 1),
        b"-----BEGIN CERTIFICATE-----" + base64.b64encode(LEAF.der) + b"-----END CERTIFICATE-----",
    ],
    ids=["crlf", "bom", "no last newline", "indented", "x509 label", "headers", "one line"],
)
def test_however_it_is_written_it_is_the_same_certificate(data: bytes) -> None:
    block = only(data)
    assert block.is_certificate
    assert block.data == LEAF.der


def test_openssls_trust_settings_are_left_off() -> None:
    body = base64.encodebytes(LEAF.der + b"\x30\x0c\x30\x0a\x06\x08+\x06\x01\x05\x05\x07\x03\x04")
    data = b"-----BEGIN TRUSTED CERTIFICATE-----\n" + body + b"-----END TRUSTED CERTIFICATE-----\n"
    assert only(data).data == LEAF.der


def test_a_block_cut_off_is_named_and_the_next_one_is_read() -> None:
    cut = LEAF.pem[: len(LEAF.pem) // 2] + b"\n"
    damaged, good = blocks(cut + ROOT.pem)
    assert damaged.problem == "CERTIFICATE at line 1 has no END line: it is cut off"
    assert good.data == ROOT.der


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"!!!not base64!!!", "is not base64"), (b"", "is empty"), (b"QUJD*", "is not base64")],
)
def test_a_damaged_block_says_why(body: bytes, why: str) -> None:
    data = b"\n\n-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n"
    assert only(data).problem == f"CERTIFICATE at line 3 {why}"


def test_a_wrong_end_is_named() -> None:
    block = only(LEAF.pem.replace(b"END CERTIFICATE", b"END PUBLIC KEY"))
    assert block.problem == "CERTIFICATE at line 1 ends as 'PUBLIC KEY'"


@pytest.mark.parametrize(
    "unit",
    [b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN ", b"-----", b"-----BEGIN A-----\n-----END B-----\n"],
)
def test_hostile_repetition_stays_linear(unit: bytes) -> None:
    """Twice the input may take at most about twice the time: a quadratic scan of 4 MB would take minutes."""
    data = unit * (4_000_000 // len(unit))
    started = time.perf_counter()
    for _ in blocks(data):
        pass
    assert time.perf_counter() - started < 5


@given(st.binary(max_size=500))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    list(blocks(b"-----BEGIN CERTIFICATE-----\n" + data + b"-----END CERTIFICATE-----"))
    list(blocks(data))


@given(prefix=st.binary(max_size=50), suffix=st.binary(max_size=50))
def test_a_good_block_is_found_whatever_stands_around_it(prefix: bytes, suffix: bytes) -> None:
    assert LEAF.der in [block.data for block in blocks(prefix + b"\n" + LEAF.pem + suffix)]


@pytest.mark.parametrize("width", [64, 63, 76, 10_000_000])
@pytest.mark.parametrize("size", [786_432, 1_500_000, 2_400_001])
def test_a_block_of_megabytes_is_decoded_in_pieces_as_a_small_one(width: int, size: int) -> None:
    data = b"\x30\x82" + hashlib.shake_128(b"pem").digest(size)
    text = base64.b64encode(data)
    body = b"\r\n".join(text[at : at + width] for at in range(0, len(text), width))
    for end in (body, body.rstrip(b"=")):
        (block,) = blocks(b"-----BEGIN X509 CRL-----\n" + end + b"\n-----END X509 CRL-----\n")
        assert (block.problem, block.data == data) == (None, True)


@pytest.mark.parametrize("at", [5, 1_400_000, -2])
@pytest.mark.parametrize("wrong", [b"?", b"="])
def test_what_is_no_base64_in_megabytes_is_damaged(at: int, wrong: bytes) -> None:
    body = base64.b64encode(hashlib.shake_128(b"pem").digest(1_500_000))
    body = body[:at] + wrong + body[at:]
    (block,) = blocks(b"-----BEGIN X509 CRL-----\n" + body + b"\n-----END X509 CRL-----\n")
    assert (block.problem, block.data) == ("X509 CRL at line 1 is not base64", b"")
