"""No name hides; and the prefilter passes over nothing that is found by reading."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certwatch.ct.leaves import make_leaf
from certwatch.ct.names import match, read_names
from certwatch.ct.prefilter import Prefilter
from certwatch.ct.watch import WatchList, parse_item, parse_key, parse_network
from certwatch.x509 import der
from certwatch.x509.tlv import encode
from tests.ct.odd_names import (
    BMP,
    KEY,
    UTF8,
    WATCHED,
    attribute,
    certificate,
    common_name,
    dns,
    harmless,
    name,
    san,
    tbs,
    tricks,
)

WATCH = WatchList.make(map(parse_item, WATCHED))
TRICKS, HARMLESS = dict(tricks()), dict(harmless())


def leaves(data: bytes) -> list[bytes]:
    return [make_leaf(data, 1), make_leaf(data, 1, issuer_key_hash=bytes(32), extensions=b"\0\0\5\0\0\0\0\1")]


@pytest.mark.parametrize("trick", TRICKS)
def test_no_name_hides(trick: str) -> None:
    found = match(TRICKS[trick], WATCH)
    assert found
    assert {each.item for each in found} & {".example.com", "sub.watched.org", ".xn--bcher-kva.de"}
    assert not any(Prefilter(WATCH).is_plain(each) for each in leaves(TRICKS[trick]))


@pytest.mark.parametrize("other", HARMLESS)
def test_what_is_not_watched_is_no_match(other: str) -> None:
    assert match(HARMLESS[other], WATCH) == []


def test_ordinary_certificates_are_passed_over() -> None:
    prefilter = Prefilter(WATCH)
    for names in (
        ["www.unrelated.net"],
        ["a.net", "*.a.net", "xn--mnchen-3ya.net"],
        ["x" * 60 + ".y.net"] * 40,
    ):
        ordinary = certificate(san(*map(dns, names)), subject=name([common_name(names[0])]))
        assert all(map(prefilter.is_plain, leaves(ordinary))), names
    long = ".".join(["a" * 60] * 3) + ".unrelated.net"
    assert all(map(prefilter.is_plain, leaves(certificate(san(dns(long), dns("b.net"))))))


def test_what_must_be_read_is_found_among_many() -> None:
    ordinary = [
        make_leaf(certificate(san(dns(f"{each}.unrelated.net")), serial=each), each) for each in range(600)
    ]
    hidden = {
        37 + 9 * index: make_leaf(data, 5)
        for index, data in enumerate(TRICKS.values())
        if 37 + 9 * index < 600
    }
    for position, leaf in hidden.items():
        ordinary[position] = leaf
    assert Prefilter(WATCH).suspects(ordinary) == sorted(hidden)
    assert Prefilter(WatchList.make([parse_item(".")])).suspects(ordinary) == list(range(600))
    assert Prefilter(WatchList()).suspects(ordinary) == []


def test_organisations_addresses_and_keys_are_watched() -> None:
    key = read_names(certificate(san(dns("a.net")))).key
    assert key == der.read(certificate()).spki_sha256
    assert key is not None
    watch = WatchList.make(
        networks=[parse_network("192.0.2.0/24"), parse_network("2001:db8::1")],
        organisations=["Exämple & Söhne GmbH"],
        keys=[parse_key(key.hex())],
    )
    other_key = KEY[:-1] + b"\0"
    for what, data, source in (
        ("address", certificate(san(encode(0x87, bytes((192, 0, 2, 9)))), key=other_key), "ip"),
        ("address as a name", certificate(san(dns("192.0.2.77")), key=other_key), "dns"),
        ("IPv6", certificate(san(encode(0x87, bytes.fromhex("20010db8" + "0" * 23 + "1"))), key=other_key), "ip"),
        ("IPv6 as a name", certificate(san(dns("2001:db8:0::1")), key=other_key), "dns"),
        ("IPv6 as text, in brackets", certificate(subject=name([common_name("[2001:DB8::1]:443")]), key=other_key), "cn"),
        ("mapped", certificate(san(encode(0x87, bytes(10) + b"\xff\xff\xc0\0\2\1")), key=other_key), "ip"),
        ("key", certificate(san(dns("a.net"))), "key"),
        (
            "organisation",
            certificate(san(dns("a.net")), key=other_key, subject=name([attribute("55040a", BMP, "EXÄMPLE  & Söhne, GmbH".encode("utf-16-be"))])),
            "organisation",
        ),
    ):  # fmt: skip
        assert {each.source for each in match(data, watch)} == {source}, what
        assert not any(map(Prefilter(watch).is_plain, leaves(data))), what
    plain = certificate(
        san(dns("a.net")), key=other_key, subject=name([attribute("55040a", UTF8, b"Somebody Else")])
    )
    assert match(plain, watch) == []
    assert all(map(Prefilter(watch).is_plain, leaves(plain)))


def test_items_of_one_label_match_all_below() -> None:
    watch = WatchList.make([parse_item(".corp"), parse_item("localhost")])
    for each in ("www.example.corp", "corp", "*.corp", "localhost"):
        assert match(certificate(san(dns("a.net"), dns(each))), watch), each
        assert not Prefilter(watch).is_plain(make_leaf(certificate(san(dns(each))), 1))
    for each in ("a.localhost", "corp.net"):
        assert not match(certificate(san(dns(each))), watch), each


LABEL = st.sampled_from(
    ["example", "com", "EXAMPLE", "Com", "*", "ex*", "?", "www", "a", "xn--bcher-kva", "xn--bcher-KVA", "xn--example-", "bücher", "BÜCHER", "de", "sub", "watched", "org", "", "x" * 63, "exam\0ple", "ｃｏｍ", "exa\u00admple", "e\x7f", "2", "_a"]
)  # fmt: skip
HOST = st.one_of(
    st.lists(LABEL, max_size=6).map(".".join),
    st.lists(LABEL, max_size=3).map("。".join),
    st.text("eExample.com*-_ \0/:", max_size=30),
)
VALUE = st.tuples(HOST, st.sampled_from(["utf-8", "latin-1", "utf-16-be", "utf-32-be"])).map(
    lambda each: each[0].encode(each[1], "replace")
)
ALL_TAGS = st.sampled_from([0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E, 0x04, 0x2C])
GENERAL = st.one_of(
    VALUE.map(dns), VALUE.map(dns), VALUE.map(dns),
    st.builds(encode, st.sampled_from([0x81, 0x82, 0x86, 0x87, 0xA0, 0xA2, 0xA4]), VALUE),
)  # fmt: skip
CERTIFICATE = st.builds(
    lambda names, more, commons, both: (
        certificate(*([san(*names)] if names else []), *([san(*more)] if more else []), subject=name(*([each] for each in commons)))
        if both
        else tbs(*([san(*names)] if names else []), subject=name(*([each] for each in commons)))
    ),
    st.lists(GENERAL, max_size=4),
    st.one_of(st.just([]), st.just([]), st.lists(GENERAL, max_size=2)),
    st.lists(st.builds(common_name, VALUE, ALL_TAGS), max_size=2),
    st.booleans(),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A certificate with some octets changed, cut out or put in."""
    data = bytearray(draw(CERTIFICATE))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + draw(st.integers(0, 2))] = draw(
            st.one_of(
                st.binary(max_size=2),
                st.sampled_from([b"\x82", b"\x30\x82", b"\x55\x1d\x11", b"\x81", b"\x80"]),
            )
        )
    return bytes(data)


WATCHES = [
    WATCH,
    WatchList.make(
        map(parse_item, WATCHED), networks=[parse_network("0.0.0.0/0")], organisations=["example"]
    ),
    WatchList.make([parse_item(".com"), parse_item("sub")]),
]


@pytest.mark.timeout(120)
@settings(max_examples=800, deadline=None)
@given(damaged(), st.sampled_from(WATCHES))
@example(certificate(san(dns("a.net"))), WATCHES[0])
def test_whatever_reading_finds_is_not_passed_over(data: bytes, watch: WatchList) -> None:
    prefilter = Prefilter(watch)
    if match(data, watch):
        assert not any(map(prefilter.is_plain, leaves(data)))
    # What the tolerant parser of the inventory reads is read here as well.
    for each in der.read(data).names:
        kind, _, host = each.partition(":")
        if kind == "dns" and "\\" not in host and watch.matching(tuple(reversed(host.strip(".").split(".")))):
            assert match(data, watch), each


@given(st.binary(max_size=300), st.sampled_from(WATCHES))
def test_no_bytes_are_too_strange(data: bytes, watch: WatchList) -> None:
    match(data, watch)
    Prefilter(watch).suspects([data, *leaves(data)])


def test_a_leaf_that_is_none_is_read_in_full() -> None:
    ordinary = make_leaf(certificate(san(dns("www.unrelated.net"))), 1)
    prefilter = Prefilter(WATCH)
    assert prefilter.is_plain(ordinary)
    for odd in (
        ordinary[:-1],
        ordinary + b"\0",
        b"\1" + ordinary[1:],
        ordinary[:11] + b"\2" + ordinary[12:],
        b"",
    ):
        assert not prefilter.is_plain(odd)
