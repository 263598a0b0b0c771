from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.url import parse_web_address


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://CA.Example.com", "http://ca.example.com/"),
        ("HTTPS://ca.example.com:443/a?b", "https://ca.example.com/a?b"),
        ("http://ca.example.com:8080?b", "http://ca.example.com:8080/?b"),
        ("http://[2001:DB8:0::1]:81/", "http://[2001:db8::1]:81/"),
        ("http://ca.example.com./a", "http://ca.example.com/a"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_an_address_is_read_in_one_form(url: str, read: str) -> None:
    assert parse_web_address(url).url == read


@given(st.one_of(st.text(), st.text(alphabet="/:@?#\\[].0x1a%").map(lambda rest: "http://" + rest)))
def test_whatever_is_read_another_reader_understands_alike(url: str) -> None:
    with suppress(ValueError):
        read = parse_web_address(url)
        parts = urlsplit(read.url)
        assert (parts.hostname, parts.username) == (read.host, None)
        assert parse_web_address(read.url) == read
        if read.host.replace(".", "").isdigit() or ":" in read.host:
            assert str(ip_address(read.host)) == read.host
