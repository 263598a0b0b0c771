"""The certificate in the clear: our hello against OpenSSL's server, its first flight cut, damaged and made up."""

import ssl
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.client_hello import client_hello
from certwatch.doors.failure import LookFailed
from certwatch.doors.glance import Glance
from certwatch.plugins.testing import make_ca, make_certificate

ISSUED = make_certificate(issuer=make_ca("Test Intermediate", issuer=make_ca(), key_number=101))
NAME = "www.example.com"


def context(
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers("ALL:@SECLEVEL=0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(ISSUED.key_pem + ISSUED.chain_pem)
        made.load_cert_chain(path)
    made.minimum_version, made.maximum_version = lowest, highest
    return made


def answer(hello: bytes, server: ssl.SSLContext) -> bytes:
    """OpenSSL's first flight, or its alert."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    except ssl.SSLError:
        assert outgoing.pending
    return outgoing.read()


def glance() -> tuple[Glance, bytes]:
    made = Glance("host:443", NAME, alpn=True)
    hello, failure = made.step(b"")
    assert failure is None
    return made, hello


SERVER = context()
FLIGHT = answer(glance()[1], SERVER)


def failure_of(data: bytes) -> LookFailed | None:
    made, _ = glance()
    return made.step(data)[1]


def test_a_server_of_tls_1_2_and_1_3_shows_its_chain_in_the_clear() -> None:
    asked: list[str | None] = []
    server = context()
    server.sni_callback = lambda _, name, __: asked.append(name)
    made, hello = glance()
    assert made.step(answer(hello, server)) == (b"", None)
    assert made.done
    assert made.presented().chain == ISSUED.chain_der
    assert made.facts() == {
        "tls_version": "TLSv1.2",
        "cipher": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "swept": True,
    }
    assert asked == [NAME]


def test_an_older_server_is_told_by_its_version() -> None:
    made, hello = glance()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = context(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    flight = answer(hello, old)
    assert made.step(flight)[1] is None
    assert made.facts()["tls_version"] == "TLSv1.1"
    assert made.facts()["cipher"] in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA")
    assert made.presented().chain == ISSUED.chain_der


def test_a_server_of_tls_1_3_alone_says_nothing() -> None:
    made, hello = glance()
    _, failure = made.step(answer(hello, context(ssl.TLSVersion.TLSv1_3)))
    assert failure is not None
    assert (failure.kind, "alert 70" in failure.message) == ("tls-alert", True)
    assert not made.done
    assert made.presented().chain == ()
    assert made.facts() == {}


def test_a_hello_is_one_small_record_with_the_longest_name() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(name) == 253
    for server_name in (None, "a", name):
        hello = client_hello(server_name, alpn=server_name is None)
        assert hello[:3] == b"\x16\x03\x01"
        assert int.from_bytes(hello[3:5], "big") == len(hello) - 5 < 600
        assert int.from_bytes(hello[6:9], "big") == len(hello) - 9
        assert answer(hello, SERVER)[0] == 22
    assert client_hello("a", alpn=True) != client_hello("a", alpn=True), "the random"


@given(st.lists(st.integers(1, 700), max_size=40))
def test_how_the_network_cuts_the_flight_makes_no_difference(cuts: list[int]) -> None:
    made, _ = glance()
    rest = FLIGHT
    for cut in [*cuts, len(rest)]:
        if rest[:cut] and not made.done:
            assert made.step(rest[:cut])[1] is None
        rest = rest[cut:]
    assert made.presented().chain == ISSUED.chain_der


@given(st.integers(1, 400))
def test_how_the_server_cuts_its_records_makes_no_difference(size: int) -> None:
    messages, at = b"", 0
    while at < len(FLIGHT):
        length = int.from_bytes(FLIGHT[at + 3 : at + 5], "big")
        messages += FLIGHT[at + 5 : at + 5 + length]
        at += 5 + length
    records = b"".join(
        b"\x16\x03\x03" + len(messages[at : at + size]).to_bytes(2, "big") + messages[at : at + size]
        for at in range(0, len(messages), size)
    )
    made, _ = glance()
    assert made.step(records)[1] is None
    assert made.presented().chain == ISSUED.chain_der


def record(*messages: bytes, kind: int = 22) -> bytes:
    payload = b"".join(messages)
    return bytes([kind, 3, 3]) + len(payload).to_bytes(2, "big") + payload


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


HELLO = message(2, b"\x03\x03" + bytes(32) + b"\x00\xc0\x2f\x00")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not-tls"),
        (b"220 mx ESMTP\r\n", "not-tls"),
        (b"\0" * 100, "not-tls"),
        (record(b"\x02\x28", kind=21), "tls-alert"),
        (record(HELLO, message(11, b"\0\0\0")), "no-certificate"),
        (record(HELLO, message(12, b"\0\0\0")), "no-certificate"),
        (record(HELLO, message(14, b"")), "no-certificate"),
        (record(message(11, b"\0\0\x05\0\0\x02ab")), "no-certificate"),
        (record(message(2, b"\x03\x03")), "malformed"),
        (record(message(2, b"\x03\x04" + bytes(40))), "malformed"),
        (record(message(2, b"\x03\x03" + bytes(32) + b"\xff" + bytes(40))), "malformed"),
        (record(HELLO) + record(b"x", kind=23), "malformed"),
        (record(HELLO) + b"\x16\x03\x03\xff\xff", "malformed"),
        (record(HELLO) + b"\x16\x03\x03\x00\x00", "malformed"),
    ],
)
def test_what_is_no_first_flight_with_a_certificate_is_told(data: bytes, kind: str) -> None:
    failure = failure_of(data)
    assert failure is not None
    assert failure.kind == kind
    assert failure.message.startswith("host:443: ")


def test_a_flight_that_does_not_end_is_waited_for() -> None:
    for data in (b"\x16", FLIGHT[:3], FLIGHT[:100], record(HELLO), record(HELLO, b"\x0b\xff\xff\xff")):
        made, _ = glance()
        assert made.step(data) == (b"", None)
        assert not made.done


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=20))
def test_any_bytes_end_in_a_chain_a_failure_or_patience(pieces: list[bytes]) -> None:
    made, _ = glance()
    for piece in pieces:
        _, failure = made.step(piece)
        if failure is not None:
            assert failure.message.isprintable()
        if failure is not None or made.done:
            break
    made.presented()
    made.facts()


@given(st.integers(0, len(FLIGHT) - 1), st.integers(0, 255))
def test_a_damaged_flight_ends_in_a_chain_a_failure_or_patience(at: int, byte: int) -> None:
    made, _ = glance()
    _, failure = made.step(FLIGHT[:at] + bytes([byte]) + FLIGHT[at + 1 :])
    assert failure is None or failure.message.isprintable()
    assert made.done == bool(made.presented().chain)
