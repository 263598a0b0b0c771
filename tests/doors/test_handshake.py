"""Handshakes without a socket, against pyOpenSSL as the server."""

import gc
import weakref

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from certwatch.doors.failure import LookFailed
from certwatch.doors.handshake import Client, Handshake
from certwatch.plugins.testing import Issued, make_ca, make_certificate

CLIENT = Client()
ROOT = make_ca()
ISSUED = make_certificate(issuer=make_ca("Test Intermediate", issuer=ROOT, key_number=101))


class Server:
    """The far side, over bytes."""

    def __init__(
        self, issued: Issued = ISSUED, *, version: int = SSL.TLS1_3_VERSION, **options: bytes
    ) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(version)
        context.set_cipher_list(options.get("ciphers", b"ALL:@SECLEVEL=0"))
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        for issuer in issued.issuers[:-1]:
            context.add_extra_chain_cert(issuer)
        context.set_alpn_select_callback(lambda _, offered: offered[0])
        if "staple" in options:
            context.set_ocsp_server_callback(lambda _, data: options["staple"])
        if "client_certificate" in options:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()

    def answer(self, data: bytes) -> bytes:
        if data:
            self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
        except SSL.Error:
            # Its alert, if it sends one, is what we want to see.
            pass
        try:
            return self.connection.bio_read(65536)
        except SSL.WantReadError:
            return b""


def shake(server: Server, *, alpn: bool = True) -> tuple[Handshake, LookFailed | None]:
    handshake = CLIENT.begin("here", "www.example.com", alpn=alpn)
    data = b""
    for _ in range(10):
        out, failure = handshake.step(data)
        if handshake.done or failure is not None:
            return handshake, failure
        data = server.answer(out)
        if not data:
            break
    return handshake, None


@pytest.mark.parametrize(
    ("version", "name"),
    [(SSL.TLS1_3_VERSION, "TLSv1.3"), (SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_VERSION, "TLSv1")],
)
def test_the_chain_is_what_was_presented(version: int, name: str) -> None:
    handshake, failure = shake(Server(version=version))
    assert failure is None
    assert handshake.presented().chain == ISSUED.chain_der
    facts = handshake.facts()
    handshake.close()
    assert facts["tls_version"] == name
    assert facts["alpn"] == "h2"
    assert facts["client_certificate_requested"] is False
    assert isinstance(facts["cipher"], str)


def test_the_group_is_the_servers_choice_and_not_what_we_would_spare() -> None:
    handshake, _ = shake(Server())
    assert handshake.facts()["group"] == "X25519MLKEM768"
    handshake.close()


@pytest.mark.parametrize("version", [SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION])
def test_a_stapled_response_is_kept_as_it_came(version: int) -> None:
    handshake, failure = shake(Server(version=version, staple=b"0\x03\x0a\x01\x00"))
    assert failure is None
    assert handshake.presented().stapled_ocsp == b"0\x03\x0a\x01\x00"
    handshake.close()


@pytest.mark.parametrize("version", [SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION, SSL.TLS1_1_VERSION])
def test_a_server_that_demands_a_client_certificate_was_seen(version: int) -> None:
    handshake, failure = shake(Server(version=version, client_certificate=b"yes"))
    assert failure is None
    assert handshake.done
    assert handshake.presented().chain == ISSUED.chain_der
    assert handshake.facts()["client_certificate_requested"] is True
    handshake.close()


def test_without_alpn_none_is_offered() -> None:
    handshake, _ = shake(Server(), alpn=False)
    assert "alpn" not in handshake.facts()
    handshake.close()


def test_an_alert_is_told_by_its_name() -> None:
    handshake, failure = shake(Server(version=SSL.TLS1_2_VERSION, ciphers=b"aNULL:@SECLEVEL=0"))
    assert failure is not None
    assert failure.kind == "tls-alert"
    assert failure.message.startswith("here: refused the handshake: handshake failure (alert 40). It wants ")
    handshake.close()


def test_a_certificate_that_openssl_cannot_parse_is_kept() -> None:
    server = Server(version=SSL.TLS1_2_VERSION)
    handshake = CLIENT.begin("here", None, alpn=False)
    out, _ = handshake.step(b"")
    broken = b"\x05" + ISSUED.der[1:]
    _, failure = handshake.step(server.answer(out).replace(ISSUED.der, broken))
    assert failure is not None
    assert failure.kind == "malformed"
    assert handshake.presented().chain[0] == broken
    assert handshake.facts()["tls_version"] == "TLSv1.2"
    handshake.close()


def test_a_bad_signature_in_the_key_exchange_leaves_the_chain() -> None:
    server = Server(version=SSL.TLS1_2_VERSION)
    handshake = CLIENT.begin("here", None, alpn=False)
    out, _ = handshake.step(b"")
    flight = bytearray(server.answer(out))
    # The last record is ServerHelloDone (9 bytes); before it ends the signature of ServerKeyExchange.
    flight[-10] ^= 1
    _, failure = handshake.step(bytes(flight))
    assert failure is not None
    assert failure.kind == "malformed"
    assert handshake.presented().chain == ISSUED.chain_der
    handshake.close()


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "speaks HTTP"),
        (b"H", "speaks HTTP"),
        (b"220 mx ESMTP\r\n", "/smtp"),
        (b"SSH-2.0-OpenSSH_9\r\n", "SSH"),
        (b"\x00\xff\x1b[2Jboo", "does not speak TLS"),
        (b"\x16\x00\x00", "does not speak TLS"),
    ],
)
def test_another_protocol_is_not_tls(greeting: bytes, says: str) -> None:
    handshake = CLIENT.begin("here", None, alpn=True)
    handshake.step(b"")
    _, failure = handshake.step(greeting)
    assert failure is not None
    assert failure.kind == "not-tls"
    assert says in failure.message
    assert failure.message.isprintable()
    handshake.close()


def test_an_endless_message_is_refused_by_its_head() -> None:
    handshake = CLIENT.begin("here", None, alpn=True)
    handshake.step(b"")
    # A ServerHello of 16,777,215 bytes.
    _, failure = handshake.step(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(0x4000 - 4))
    assert failure is not None
    assert failure.kind == "malformed"
    handshake.close()


def test_a_client_is_let_go_of_with_its_last_user() -> None:
    client = Client()
    client.begin("here", None, alpn=True).close()
    gone = weakref.ref(client)
    del client
    # OpenSSL's callback points back at it: a cycle.
    gc.collect()
    assert gone() is None


def test_closing_twice_is_harmless() -> None:
    handshake = CLIENT.begin("here", None, alpn=True)
    handshake.close()
    handshake.close()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]),
    # Places as fractions: signatures, and so flights, differ in length from run to run.
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.floats(0, 1),
)
def test_a_flight_broken_anywhere_ends_in_a_failure_or_waits(
    version: int, changes: list[tuple[float, int]], cut: float
) -> None:
    handshake = CLIENT.begin("here", "www.example.com", alpn=True)
    out, _ = handshake.step(b"")
    flight = bytearray(Server(version=version).answer(out))
    for place, byte in changes:
        flight[int(place * len(flight))] = byte
    del flight[1 + int(cut * len(flight)) :]
    note(flight.hex())
    try:
        _, failure = handshake.step(bytes(flight))
        if failure is not None:
            assert failure.message.isprintable()
        handshake.presented()
        handshake.facts()
    finally:
        handshake.close()
