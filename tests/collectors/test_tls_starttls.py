"""STARTTLS dialogues as playbooks: server's lines in, ours out."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.dialogue import MAX_PIECES, Conversation
from certwatch.doors.failure import LookFailed
from collectors.tls.starttls import BY_PORT, PROTOCOLS
from collectors.tls.starttls.ftp import ftp_reply
from collectors.tls.starttls.ldap import START_TLS, ldap_message
from collectors.tls.starttls.mssql import HELLO, Packets, packets, prelogin, tds_message
from collectors.tls.starttls.mysql import SSL_REQUEST as MYSQL_REQUEST
from collectors.tls.starttls.mysql import mysql_packet
from collectors.tls.starttls.postgres import SSL_REQUEST
from collectors.tls.starttls.rdp import CONNECT, negotiation, tpkt
from collectors.tls.starttls.replies import coded, dotted
from collectors.tls.starttls.xmpp import element, stream_and_features

WHERE = "host.example:1"
NAME = "im.example"


class Talk(NamedTuple):
    """One good conversation, step by step: the server's words, then ours."""

    protocol: str
    steps: Sequence[tuple[bytes, bytes]]


def stream(namespace: bytes) -> bytes:
    return (
        b"<?xml version='1.0'?><stream:stream to='im.example' version='1.0' xmlns='" + namespace + b"'"
        b" xmlns:stream='http://etherx.jabber.org/streams'>"
    )


FEATURES = (
    b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xml:lang='en' id='a>b'"
    b" from='im.example' version='1.0' xmlns='jabber:client'><stream:features><starttls"
    b" xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
)
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
EHLO = b"EHLO certwatch.invalid\r\n"
GREETING = b"\x0a8.0.36\0" + bytes(13) + b"\xff\xff" + b"\xff\x02\0" + b"\xff\xdf\x15" + bytes(10) + b"x" * 13
MYSQL = len(GREETING).to_bytes(3, "little") + b"\0" + GREETING
LDAP_OK = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
#: As Active Directory answers: lengths of four bytes, and the name of the operation.
LDAP_AD = (
    b"\x30\x84\0\0\0\x28\x02\x01\x01\x78\x84\0\0\0\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x16"
    b"1.3.6.1.4.1.1466.20037"
)
TDS_OK = packets(4, prelogin({0: b"\x10\0\x10\0\0\0", 1: b"\x01", 2: b"\0", 3: b""}))
RDP_OK = tpkt(b"\xd0\0\0\x12\x34\0", negotiation(2, 1))
CAPABILITY = b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK done\r\n"
SIEVE = b'"IMPLEMENTATION" "x"\r\n"SASL" ""\r\n"STARTTLS"\r\nOK "ready"\r\n'

TALKS = [
    Talk(
        "smtp",
        [(b"220-mx\r\n220 ESMTP\r\n", EHLO), (b"250-mx\r\n250-SIZE 1\r\n250-STARTTLS\r\n250 HELP\r\n", b"STARTTLS\r\n"),
         (b"220 Ready\r\n", b"")],
    ),
    Talk("submission", [(b"220 mx\r\n", EHLO), (b"250-mx\n250 starttls\n", b"STARTTLS\r\n"), (b"220 go\n", b"")]),
    Talk(
        "lmtp",
        [(b"220 mx LMTP\r\n", b"LHLO certwatch.invalid\r\n"), (b"250-mx\r\n250 STARTTLS \r\n", b"STARTTLS\r\n"),
         (b"220 2.0.0 Begin\r\n", b"")],
    ),
    Talk(
        "imap",
        [(b"* OK [CAPABILITY IMAP4rev1] ready\r\n", b"a CAPABILITY\r\n"), (CAPABILITY, b"b STARTTLS\r\n"),
         (b"b OK Begin\r\n", b"")],
    ),
    Talk(
        "pop3",
        [(b"+OK ready\r\n", b"CAPA\r\n"), (b"+OK\r\nUIDL\r\nSTLS\r\n.\r\n", b"STLS\r\n"), (b"+OK go\r\n", b"")],
    ),
    Talk("pop3", [(b"+OK\r\n", b"CAPA\r\n"), (b"-ERR what?\r\n", b"STLS\r\n"), (b"+OK\r\n", b"")]),
    Talk("sieve", [(SIEVE, b"STARTTLS\r\n"), (b'OK "Begin"\r\n', b"")]),
    Talk("ftp", [(b"220-a\r\n221 b\r\n220 c\r\n", b"AUTH TLS\r\n"), (b"234 go\r\n", b"")]),
    Talk("ftp", [(b"120 soon\r\n", b""), (b"220 now\r\n", b"AUTH TLS\r\n"), (b"234 go\r\n", b"")]),
    Talk(
        "nntp",
        [(b"201 news\r\n", b"CAPABILITIES\r\n"), (b"101 list\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n", b"STARTTLS\r\n"),
         (b"382 go\r\n", b"")],
    ),
    Talk("nntp", [(b"200 a\r\n", b"CAPABILITIES\r\n"), (b"500 what\r\n", b"STARTTLS\r\n"), (b"382 go\r\n", b"")]),
    Talk("ldap", [(b"", START_TLS), (LDAP_OK, b"")]),
    Talk("ldap", [(b"", START_TLS), (LDAP_AD, b"")]),
    Talk("xmpp-client", [(b"", stream(b"jabber:client")), (FEATURES, STARTTLS), (PROCEED, b"")]),
    Talk("xmpp-server", [(b"", stream(b"jabber:server")), (FEATURES, STARTTLS), (b"\n" + PROCEED, b"")]),
    Talk("postgres", [(b"", SSL_REQUEST), (b"S", b"")]),
    Talk("mysql", [(MYSQL, MYSQL_REQUEST)]),
    Talk("mssql", [(b"", HELLO), (TDS_OK, b"")]),
    Talk("rdp", [(b"", CONNECT), (RDP_OK, b"")]),
]  # fmt: skip
IDS = [f"{each.protocol}-{number}" for number, each in enumerate(TALKS)]


def begun(protocol: str) -> tuple[Conversation, bytes]:
    talk = Conversation(PROTOCOLS[protocol].dialogue(WHERE, NAME), WHERE)
    return talk, talk.start()


def refusal(protocol: str, *replies: bytes) -> LookFailed:
    talk, _ = begun(protocol)
    with pytest.raises(LookFailed) as caught:
        for reply in replies:
            talk.receive(reply)
    assert caught.value.message.startswith(f"{WHERE}: ")
    assert caught.value.message.isprintable()
    return caught.value


def test_every_protocol_is_played() -> None:
    assert {each.protocol for each in TALKS} == set(PROTOCOLS)
    assert len(BY_PORT) == len(PROTOCOLS)


@pytest.mark.parametrize("talk", TALKS, ids=IDS)
def test_a_good_server_is_led_to_tls(talk: Talk) -> None:
    conversation, said = begun(talk.protocol)
    for theirs, ours in talk.steps:
        if theirs:
            assert not conversation.done
            said = conversation.receive(theirs)
        assert said == ours
    assert conversation.done
    assert (conversation.carrier is not None) == (talk.protocol == "mssql")


@given(st.sampled_from(TALKS), st.lists(st.integers(1, 20), max_size=60))
def test_how_the_network_cuts_the_bytes_makes_no_difference(talk: Talk, cuts: list[int]) -> None:
    conversation, said = begun(talk.protocol)
    for theirs, _ in talk.steps:
        rest = theirs
        for cut in [*cuts, len(theirs)]:
            if rest[:cut]:
                said += conversation.receive(rest[:cut])
            rest = rest[cut:]
    assert said == b"".join(ours for _, ours in talk.steps)
    assert conversation.done


#: What a server may say instead of what it should: refusals, other protocols, nothing, too much.
LIES = [
    b"\r\n",
    b"421 too busy\r\n",
    b"554 5.7.1 go away\r\n",
    b"500-no\r\n500 no\r\n",
    b"250-STARTTLS\r\n250-\r\n250 \r\n",
    b"* BYE no\r\n",
    b"* PREAUTH welcome\r\n",
    b"a BAD no\r\nb BAD no\r\n",
    b"a NO no\r\nb NO no\r\n",
    b"* CAPABILITY IMAP4rev1\r\na OK\r\n",
    b"-ERR no\r\n",
    b"NO no\r\n",
    b'BYE "no"\r\n',
    b'"SIEVE" "x"\r\nOK\r\n',
    b"101 list\r\nVERSION 2\r\n.\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"\x15\x03\x03\x00\x02\x02\x28\r\n",
    b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00",
    b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00",
    b"\x30\x84\xff\xff\xff\xff\x02",
    b"\x30\x02\x05\x00",
    (b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'><stream:error><host-unknown"
    b" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"),
    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
    (b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'><stream:features><mechanisms"
    b" xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></stream:features>"),
    b"<html><body>hello</body></html>",
    b"N",
    b"E",
    b"\x07\0\0\0\xff\x10\x04Too many",
    (len(GREETING)).to_bytes(3, "little") + b"\0" + GREETING.replace(b"\xff\xff", b"\xff\xf7"),
    packets(4, prelogin({1: b"\x02"})),
    packets(4, prelogin({0: bytes(6)})),
    packets(4, b"\x01\xff\xff\xff\xff\xff"),
    tpkt(b"\xd0\0\0\x12\x34\0", negotiation(3, 2)),
    tpkt(b"\xd0\0\0\x12\x34\0"),
    tpkt(b"\xd0\0\0\x12\x34\0", negotiation(2, 0)),
    b"\x03\0\0\x04",
    b"\0" * 64,
    b"\xff" * 64,
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("talk", TALKS, ids=IDS)
def test_a_server_that_lies_in_any_step_is_not_led_to_tls(talk: Talk, lie: bytes) -> None:
    for step, (theirs, _) in enumerate(talk.steps):
        if not theirs:
            continue
        conversation, _ = begun(talk.protocol)
        for good, _ in talk.steps[:step]:
            if good:
                conversation.receive(good)
        try:
            conversation.receive(lie)
        except LookFailed as failure:
            assert failure.kind in ("not-tls", "malformed")
            assert failure.message.startswith(f"{WHERE}: ")
            assert failure.message.isprintable()
        else:
            # It waits for more, or takes the lie for an old server's "what?" and asks for TLS all the same.
            assert not conversation.done


@pytest.mark.parametrize("talk", TALKS, ids=IDS)
def test_what_is_injected_before_tls_never_reaches_it(talk: Talk) -> None:
    *before, (last, _) = talk.steps
    conversation, _ = begun(talk.protocol)
    for theirs, _ in before:
        if theirs:
            conversation.receive(theirs)
    with pytest.raises(LookFailed, match="injected") as caught:
        conversation.receive(last + b"\x16\x03\x01\x00\x05hello")
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize("talk", TALKS, ids=IDS)
def test_an_endless_reply_is_given_up_at_every_step(talk: Talk) -> None:
    for step, (theirs, _) in enumerate(talk.steps):
        if not theirs:
            continue
        for filler in (theirs[:1] * 997, b"250-a\r\n" * 200, b"* a\r\n" * 200, b"<a " + b"b" * 900):
            conversation, _ = begun(talk.protocol)
            for good, _ in talk.steps[:step]:
                if good:
                    conversation.receive(good)
            with pytest.raises(LookFailed) as caught:
                for _ in range(40):
                    conversation.receive(filler)
            assert caught.value.kind in ("malformed", "not-tls")


def test_a_reply_that_drips_is_given_up() -> None:
    conversation, _ = begun("smtp")
    with pytest.raises(LookFailed, match="pieces"):
        for _ in range(MAX_PIECES + 1):
            conversation.receive(b"x")


@pytest.mark.parametrize(
    ("protocol", "replies", "kind", "says"),
    [
        ("smtp", [b"554 No SMTP service here\r\n"], "not-tls", '"554 No SMTP service here"'),
        ("smtp", [b"421-busy\r\n421 later\r\n"], "not-tls", '"421-busy"'),
        ("smtp", [b"+OK POP3\r\n"], "malformed", "not SMTP"),
        ("smtp", [b"\x1b[31m\r\n"], "malformed", "not SMTP"),
        ("smtp", [b"220 mx\r\n", b"502 unknown command\r\n"], "not-tls", "EHLO"),
        ("smtp", [b"220 mx\r\n", b"250-mx\r\n250 PIPELINING\r\n"], "not-tls", "does not offer STARTTLS"),
        # A host called STARTTLS.
        ("smtp", [b"220 mx\r\n", b"250 STARTTLS\r\n"], "not-tls", "does not offer STARTTLS"),
        ("smtp", [b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"454 TLS not available\r\n"], "not-tls", '"454 TLS'),
        ("smtp", [b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n"], "malformed", "injected"),
        ("lmtp", [b"220 mx\r\n", b"500 unknown command\r\n"], "not-tls", "not SMTP"),
        ("imap", [b"* PREAUTH welcome\r\n"], "not-tls", "logs us in at once"),
        ("imap", [b"* BYE too many\r\n"], "not-tls", "BYE too many"),
        ("imap", [b"+OK POP3\r\n"], "malformed", "not IMAP"),
        ("imap", [b"* OK\r\n", b"* CAPABILITY IMAP4rev1\r\na OK\r\n"], "not-tls", "does not offer STARTTLS"),
        ("imap", [b"* OK\r\n", CAPABILITY, b"b NO not now\r\n"], "not-tls", '"b NO not now"'),
        ("pop3", [b"-ERR busy\r\n"], "not-tls", "-ERR busy"),
        ("pop3", [b"+OK\r\n", b"+OK\r\nUIDL\r\n.\r\n"], "not-tls", "does not offer STLS"),
        ("pop3", [b"+OK\r\n", b"-ERR\r\n", b"-ERR unknown\r\n"], "not-tls", "-ERR unknown"),
        ("sieve", [b"* OK IMAP\r\nOK\r\n"], "malformed", "not ManageSieve"),
        ("sieve", [b'"SIEVE" "x"\r\nBYE "too many"\r\n'], "not-tls", "too many"),
        ("sieve", [SIEVE, b'NO "TLS is broken"\r\n'], "not-tls", "TLS is broken"),
        ("ftp", [b"530 not for you\r\n"], "not-tls", "530 not for you"),
        ("ftp", [b"220 a\r\n", b"502 AUTH what\r\n"], "not-tls", "Configure TLS"),
        ("nntp", [b"502 go away\r\n"], "not-tls", "502 go away"),
        ("nntp", [b"200 a\r\n", b"101 x\r\nREADER\r\n.\r\n"], "not-tls", "does not offer STARTTLS"),
        ("nntp", [b"200 a\r\n", b"500 x\r\n", b"580 no TLS\r\n"], "not-tls", "580 no TLS"),
        ("ldap", [LDAP_OK.replace(b"\x0a\x01\x00", b"\x0a\x01\x34")], "not-tls", "result code 52"),
        ("ldap", [b"\x30\x0f\x02\x01\x01\x78\x0a\x0a\x01\x02\x04\x00\x04\x03\x1b[m"], "not-tls", '2 (".[m")'),
        ("ldap", [b"HTTP/1.1 400\r\n"], "malformed", "not LDAP"),
        ("ldap", [b"\x30\x00"], "malformed", "not LDAP"),
        ("xmpp-client", [LIES[22]], "not-tls", "host-unknown. Ask for a domain that it serves"),
        ("xmpp-client", [LIES[24]], "not-tls", "does not offer STARTTLS"),
        ("xmpp-client", [FEATURES, LIES[23]], "not-tls", "answered it with"),
        ("xmpp-client", [b"<html><body></body></html>"], "malformed", "not XMPP"),
        ("xmpp-server", [b"220 mx\r\n"], "malformed", "not XMPP"),
        ("postgres", [b"N"], "not-tls", "Set ssl = on"),
        ("postgres", [b"E"], "not-tls", "See its log"),
        ("postgres", [b"S220 injected"], "malformed", "injected"),
        ("postgres", [b"H"], "malformed", "not PostgreSQL"),
        ("mysql", [b"\x0b\0\0\0\xff\x69\x04Blocked!"], "not-tls", "Blocked!"),
        ("mysql", [LIES[29]], "not-tls", '"8.0.36" offers no TLS'),
        ("mysql", [b"220 mx\r\n"], "malformed", "not MySQL"),
        ("mssql", [LIES[30]], "not-tls", "offers no encryption"),
        ("mssql", [LIES[31]], "malformed", "not TDS"),
        ("mssql", [b"\x15\x03\x03\x00\x02\x02\x28"], "malformed", "leave /mssql away"),
        ("rdp", [LIES[33]], "not-tls", "does not allow TLS"),
        ("rdp", [LIES[34]], "not-tls", "only RDP's own security"),
        ("rdp", [b"\x16\x03\x03\x00\x04"], "malformed", "not RDP"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_begin_tls_is_told_apart(
    protocol: str, replies: list[bytes], kind: str, says: str
) -> None:
    failure = refusal(protocol, *replies)
    assert (failure.kind, says in failure.message) == (kind, True), failure.message


def test_a_stream_is_opened_to_the_name_asked_for_or_to_the_address() -> None:
    dialogue = PROTOCOLS["xmpp-client"].dialogue
    assert b" to='a&lt;&#x27;b' " in Conversation(dialogue(WHERE, "a<'b"), WHERE).start()
    assert b" to='192.0.2.1' " in Conversation(dialogue("192.0.2.1:5222"), "").start()
    assert b" to='2001:db8::1' " in Conversation(dialogue("[2001:db8::1]:5222"), "").start()


@pytest.mark.parametrize(
    ("buffer", "length"),
    [
        (b"", None),
        (b"220", None),
        (b"220\r\n", 5),
        (b"220-a\r\n", None),
        (b"220-a\r\n220 b\r\nrest", 14),
        (b"\n", 1),
    ],
)
def test_a_reply_by_code_ends_with_its_last_line(buffer: bytes, length: int | None) -> None:
    assert coded(buffer) == length
    assert ftp_reply(buffer) == length


def test_between_the_lines_of_ftp_there_may_be_anything() -> None:
    assert ftp_reply(b"220-a\r\n 220 no\r\n221 no\r\n220-no\r\n") is None
    assert ftp_reply(b"220-a\r\nany\r\n220 end\r\nmore") == 21


def test_a_list_ends_with_its_dot() -> None:
    assert dotted(b"101 a\r\n..\r\n.x\r\n") is None
    assert dotted(b"101 a\r\n.\r\nmore") == 10
    assert dotted(b".\n") == 2


def test_elements_end_where_they_are_closed() -> None:
    assert stream_and_features(b"<?xml version='1.0'?><s:stream a='>'><s:features>") is None
    header = b"<s:stream a='/>' b=\">\">"
    assert stream_and_features(header) is None
    assert stream_and_features(header + b"<s:features/>") == len(header) + 13
    assert stream_and_features(header + b"<f><a/><b></b></f>rest>") == len(header) + 18
    assert element(b"<proceed x='a/b'/>") == 18
    assert element(b"<failure><tls/></failure></s>") == 25


CARRIED = st.lists(st.binary(min_size=1, max_size=6000), max_size=4)


@given(CARRIED, st.lists(st.integers(1, 5000), max_size=20))
def test_what_tds_carries_comes_out_as_it_went_in(flights: list[bytes], cuts: list[int]) -> None:
    flights = [b"\x16" + each for each in flights]
    there, here = Packets(WHERE), Packets(WHERE)
    wire = b"".join(there.wrap(each) for each in flights)
    assert all(len(each) <= 4096 for each in (wire[:4096],))
    out = b""
    for cut in [*cuts, len(wire)]:
        out += here.unwrap(wire[:cut])
        wire = wire[cut:]
    assert out == b"".join(flights)


def test_amid_tds_a_bare_alert_is_handed_on_and_anything_else_is_not() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    assert Packets(WHERE).unwrap(packets(0x12, b"hello") + alert) == b"hello" + alert
    for lie in (b"HTTP/1.1", b"\x12\x01\x00\x07\0\0\0\0", b"\0" * 20):
        with pytest.raises(LookFailed) as caught:
            Packets(WHERE).unwrap(lie)
        assert caught.value.kind == "malformed"


WORDS = sorted({*LIES, *(theirs for each in TALKS for theirs, _ in each.steps)})
PIECES = st.lists(st.binary(max_size=30) | st.sampled_from(WORDS), max_size=12)


@given(st.sampled_from(sorted(PROTOCOLS)), PIECES)
def test_whatever_a_server_says_a_dialogue_goes_on_ends_or_fails_cleanly(
    protocol: str, pieces: list[bytes]
) -> None:
    talk, _ = begun(protocol)
    try:
        for piece in pieces:
            if talk.done:
                break
            talk.receive(piece)
        if talk.done and talk.carrier is not None:
            talk.carrier.unwrap(b"".join(pieces))
    except LookFailed as failure:
        assert failure.message.isprintable()
    finally:
        talk.close()


Change = Literal["cut", "flip", "double"]


@given(
    st.sampled_from(TALKS),
    st.integers(0, 3),
    st.sampled_from(["cut", "flip", "double"]),
    st.integers(0, 4000),
)
def test_a_good_server_damaged_anywhere_fails_cleanly(talk: Talk, step: int, change: Change, at: int) -> None:
    conversation, _ = begun(talk.protocol)
    try:
        for number, (theirs, _) in enumerate(talk.steps):
            sent = theirs
            if number == step % len(talk.steps) and theirs:
                here = at % len(theirs)
                if change == "cut":
                    sent = theirs[:here] + theirs[here + 1 :]
                elif change == "flip":
                    sent = theirs[:here] + bytes([theirs[here] ^ 1 << at % 8]) + theirs[here + 1 :]
                else:
                    sent = theirs[: here + 1] + theirs[here:]
            if sent and not conversation.done:
                conversation.receive(sent)
    except LookFailed as failure:
        assert failure.message.isprintable()


@given(st.binary(max_size=100))
def test_frames_take_any_bytes(data: bytes) -> None:
    for frame in (
        coded, dotted, ftp_reply, ldap_message, stream_and_features, element, mysql_packet, tds_message,
    ):  # fmt: skip
        length = frame(data)
        assert length is None or 0 <= length <= len(data)
