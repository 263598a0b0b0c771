"""Certificates that are made to hide a name among many, or to keep whoever reads them busy."""

import time

import pytest

from certwatch.ct.names import match
from certwatch.ct.watch import WatchList, parse_item
from tests.ct.odd_names import BMP, attribute, certificate, common_name, dns, extension, name, san

WATCH = WatchList.make(map(parse_item, [*(f".watched{each}.net" for each in range(1000)), ".example.com"]))
SAN, CN, ORGANISATION = b"\x55\x1d\x11", b"\x55\x04\x03", b"\x55\x04\x0a"
#: Of the processor. They take a tenth of it at most; some took hours.
LONGEST_SECONDS = 60


def items(data: bytes, watch: WatchList = WATCH) -> set[str]:
    return {each.item for each in match(data, watch)}


@pytest.mark.parametrize("before", [63, 64, 65, 200])
def test_a_name_does_not_hide_behind_many_others(before: int) -> None:
    """Of the common names only the first sixty-four were read."""
    others = [[common_name(f"host{each}.unrelated.net")] for each in range(before)]
    subject = name(*others, [common_name("www.example.com")])
    assert items(certificate(san(dns("a.net")), subject=subject)) == {".example.com"}
    many = certificate(*(san(dns(f"host{each}.net")) for each in range(before)), san(dns("www.example.com")))
    assert items(many) == {".example.com"}


def test_an_organisation_does_not_hide_behind_many_others() -> None:
    watch = WatchList.make(organisations=["Example Ltd"])
    others = [[attribute("55040a", 0x0C, b"Unrelated")] for _ in range(100)]
    subject = name(*others, [attribute("55040a", 0x0C, b"EXAMPLE, Ltd.")])
    assert items(certificate(san(dns("a.net")), subject=subject), watch) == {"Example Ltd"}


BUSY = {
    "dots": SAN + b"." * 2_000_000,
    "dots with ends": SAN + b".com" * 500_000,
    "labels": SAN + (b"a" * 63 + b".") * 30_000,
    "many that cannot be read": (SAN + b"." * 3000) * 600,
    "many common names": (CN + b"\x0c\x82\x0f\xff" + b"a. " * 1365) * 500,
    "many organisations": (ORGANISATION + b"\x0c\x82\x0f\xff" + "\ufdfa".encode() * 1365) * 100,
    "many odd names": certificate(san(*(dns(b"a. " * 1365) for _ in range(500)))),
    "many wide names": certificate(san(*(dns("\ufdfa".encode() * 1365) for _ in range(100)))),
    "wildcards": certificate(san(*(dns(b"*a" * 60 + b"*.example.com") for _ in range(5000)))),
    "deep": certificate(extension(SAN, b"\x30\x80" * 100_000)),
    "BMP": certificate(subject=name([common_name("a. " * 1365, BMP)])) * 100,
}


@pytest.mark.parametrize("trick", BUSY)
def test_no_certificate_keeps_the_reader_busy(trick: str) -> None:
    watch = WatchList.make(
        map(parse_item, [*(f".watched{each}.com" for each in range(1000)), ".bücher.de", ".example.com"]),
        organisations=["Example Ltd"],
    )
    began = time.process_time()
    match(BUSY[trick], watch)
    assert time.process_time() - began < LONGEST_SECONDS


def test_what_is_too_much_to_look_at_counts_as_a_match() -> None:
    assert ".example.com" in items(SAN + b".com" * 500_000)
    assert items(SAN + b".org" * 500_000) == set()
    hidden = certificate(san(*(dns(b"a. " * 1365) for _ in range(500)), dns("www.example.com")))
    assert ".example.com" in items(hidden)


@pytest.mark.parametrize("filling", [b"", b"x" * 3_000_000, b". " * 1_000_000])
def test_a_name_is_found_wherever_it_stands_in_what_cannot_be_read(filling: bytes) -> None:
    assert ".example.com" in items(SAN + filling + b"www.eXample.com" + filling)
    idn = WatchList.make([parse_item(".bücher.de")])
    assert items(SAN + filling + "www.Bücher.de".encode() + filling, idn) == {".xn--bcher-kva.de"}
