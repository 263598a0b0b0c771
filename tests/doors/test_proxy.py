"""Proxies as scripts, and any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.dialogue import Conversation
from certwatch.doors.failure import LookFailed
from certwatch.doors.proxy import parse_proxy, through

HTTP = "http://ada:s%3Acret@proxy.example:3128"
SOCKS = "socks5://ada:secret@proxy.example"


def begun(url: str, host: str = "www.example.com") -> tuple[Conversation, bytes]:
    talk = Conversation(through(parse_proxy(url), host, 443, None)("here"), "here")
    return talk, talk.start()


def test_connect_asks_with_a_login_and_takes_any_2xx() -> None:
    talk, said = begun(HTTP)
    assert said == (
        b"CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n"
        b"Proxy-Authorization: Basic YWRhOnM6Y3JldA==\r\n\r\n"
    )
    assert talk.receive(b"HTTP/1.1 200 OK\r\nVia: x\r\n") == b""
    assert talk.receive(b"\r\n") == b""
    assert talk.done
    assert begun("http://p:1", "2001:db8::1")[1].startswith(b"CONNECT [2001:db8::1]:443 ")


def test_socks_logs_in_and_asks_by_name_or_address() -> None:
    talk, said = begun(SOCKS)
    assert said == b"\x05\x02\x00\x02"
    assert talk.receive(b"\x05\x02") == b"\x01\x03ada\x06secret"
    assert talk.receive(b"\x01\x00") == b"\x05\x01\x00\x03\x0fwww.example.com\x01\xbb"
    assert talk.receive(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50") == b""
    assert talk.done
    talk, said = begun("socks5://p:1", "192.0.2.1")
    assert said == b"\x05\x01\x00"
    assert talk.receive(b"\x05\x00") == b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb"


@pytest.mark.parametrize(
    ("url", "replies", "kind"),
    [
        (HTTP, [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"], "permission"),
        (HTTP, [b"HTTP/1.1 502 Bad Gateway\r\n\r\n"], "unreachable"),
        (HTTP, [b"HTTP/1.1 504 Timeout\r\n\r\n"], "timeout"),
        (HTTP, [b"220 mx ESMTP\r\n"], "malformed"),
        (HTTP, [b"HTTP/1.1 200 OK\r\n\r\nmore"], "malformed"),
        (SOCKS, [b"HT"], "malformed"),
        (SOCKS, [b"\x05\xff"], "permission"),
        (SOCKS, [b"\x05\x02", b"\x01\x01"], "permission"),
        (SOCKS, [b"\x05\x00", b"\x05\x05\x00\x01\0\0\0\0\0\0"], "refused"),
        (SOCKS, [b"\x05\x00", b"\x05\x00\x00\x09\0"], "malformed"),
    ],
)
def test_a_proxy_that_does_not_connect_is_told(url: str, replies: list[bytes], kind: str) -> None:
    talk, _ = begun(url)
    with pytest.raises(LookFailed) as caught:
        for reply in replies:
            talk.receive(reply)
    assert caught.value.kind == kind
    assert caught.value.message.isprintable()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["", "proxy:3128", "https://p", "http://", "http://p:99999", "socks5://p/x"])
def test_what_is_no_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL of a proxy"):
        parse_proxy(url)


@given(st.sampled_from([HTTP, SOCKS]), st.lists(st.binary(min_size=1, max_size=40), max_size=10))
def test_whatever_a_proxy_says_it_goes_on_ends_or_fails_cleanly(url: str, pieces: list[bytes]) -> None:
    talk, _ = begun(url)
    try:
        for piece in pieces:
            if not talk.done:
                talk.receive(piece)
    except LookFailed as failure:
        assert failure.message.isprintable()
