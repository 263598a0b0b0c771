"""BER walks: pieces, indefinite lengths, bounds."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.x509 import ber
from certwatch.x509.tlv import Unreadable, encode


def walk(found: ber.Element) -> int:
    """Everything inside, to the bottom."""
    waiting, count = [found], 0
    while waiting:
        count += 1
        last = waiting.pop()
        if last.tag & 0x20:
            waiting += last.children()
    return count


def test_an_indefinite_length_ends_at_its_own_zeros() -> None:
    inner = b"\x30\x80" + encode(0x04, b"\0\0\0\0") + b"\0\0"
    outer = ber.element(b"\x30\x80" + inner + encode(0x02, b"\x05") + b"\0\0trailing")
    first, second = outer.children()
    assert (first.raw, ber.integer(second)) == (inner, 5)
    assert outer.data[outer.after :] == b"trailing"


@pytest.mark.parametrize(
    "data",
    [
        encode(0x04, b"abcd"),
        encode(0x24, encode(0x04, b"ab") + encode(0x04, b"cd")),
        b"\x24\x80" + encode(0x04, b"abc") + encode(0x24, encode(0x04, b"d")) + b"\0\0",
        b"\xa0\x80" + encode(0x04, b"abcd") + b"\0\0",
        encode(0x80, b"abcd"),
    ],
)
def test_a_string_in_pieces_is_one_string(data: bytes) -> None:
    assert ber.octets(ber.element(data)) == b"abcd"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends in the middle"),
        (b"\x30\x05\x02", "3 bytes are missing|4 bytes are missing"),
        (b"\x30\x88" + b"\xff" * 8, "bytes are missing"),
        (b"\x30\x80\x02\x01\x05", "ends in the middle"),
        (b"\x04\x80\0\0", "without parts"),
        (b"\x1f\x81\x01\x00", "more than one byte"),
        (b"\x30\x80" * 100, "inside one another"),
    ],
)
def test_what_is_no_element_is_said_so(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        ber.element(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80" + b"\x04\x00" * 2_000_000,
        b"\x24\x84\x00\x3d\x09\x00" + b"\x04\x00" * 2_000_000,
        (b"\x24\x80" * 15 + b"\x04\x00" + b"\0\0" * 15) * 50_000,
        b"\x30\x80" * 4_000_000,
    ],
    ids=["endless", "tiny pieces", "deep pieces", "all open"],
)
def test_what_costs_much_is_refused_before(data: bytes) -> None:
    began = time.process_time()
    try:
        for each in ber.elements(data, 0, len(data)):
            ber.octets(each)
    except Unreadable:
        pass
    assert time.process_time() - began < 3


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_unreadable(data: bytes) -> None:
    try:
        found = ber.element(data)
        walk(found)
        ber.octets(found)
    except Unreadable as error:
        assert str(error)
