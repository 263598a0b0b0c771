"""One URI a place: it must be the same for the same place, and say again what it was made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.location import (
    Location,
    LocationURI,
    TLSEndpoint,
    file_location,
    parse_file_entry,
    parse_file_location,
    parse_tls_location,
    tls_location,
)


def test_an_endpoint_with_a_name_asked_for() -> None:
    assert tls_location("203.0.113.7", 443, server_name="www.example.com") == (
        "tls://203.0.113.7:443/?sni=www.example.com"
    )


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert tls_location("2001:db8::1", 8443) == "tls://[2001:db8::1]:8443/"


def test_the_starttls_protocol_is_part_of_the_place() -> None:
    uri = tls_location("192.0.2.1", 25, server_name="mx.example.com", protocol="smtp")
    assert uri == "tls://192.0.2.1:25/?sni=mx.example.com&protocol=smtp"
    assert parse_tls_location(uri) == TLSEndpoint(
        host="192.0.2.1", port=25, server_name="mx.example.com", protocol="smtp"
    )


@given(
    host=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    name=st.none() | st.from_regex(r"[a-z0-9_-]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True),
)
def test_an_endpoint_says_again_what_it_was_made_from(host: str, port: int, name: str | None) -> None:
    endpoint = parse_tls_location(tls_location(host, port, server_name=name))
    assert endpoint == TLSEndpoint(host=host, port=port, server_name=name, protocol=None)


@given(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw))
def test_any_path_can_be_a_place_even_when_it_is_not_utf8(raw: bytes) -> None:
    path = "/" + raw.decode("utf-8", "surrogateescape")
    uri = file_location(path)
    assert uri.isascii()
    assert uri.isprintable()
    assert parse_file_location(uri).encode("utf-8", "surrogateescape") == path.encode(
        "utf-8", "surrogateescape"
    )


@pytest.mark.parametrize("uri", ["file:///etc/x", "tls://host/", "tls://:443/"])
def test_another_kind_of_place_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="not a tls location"):
        parse_tls_location(LocationURI(uri))


def test_the_kind_is_the_scheme() -> None:
    assert Location(uri=LocationURI("k8s://prod/payments/secret/web-tls?key=tls.crt")).kind == "k8s"


@given(
    st.text(st.characters(exclude_characters="\0"), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_file_and_its_entry_come_back_whatever_they_hold(name: str, entry: str) -> None:
    path = "/" + name.encode("utf-8", "replace").decode()
    uri = file_location(path, entry)
    assert (parse_file_location(uri), parse_file_entry(uri)) == (path, entry)
    assert uri.isascii()
    assert uri.isprintable()


def test_an_entry_is_a_fragment() -> None:
    assert file_location("/etc/a#b.jks", "my site") == "file:///etc/a%23b.jks#my%20site"
    assert file_location("/etc/a.jks") == "file:///etc/a.jks"
