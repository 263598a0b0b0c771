"""STARTTLS dialogues as playbooks: server's lines in, ours out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.dialogue import Conversation
from certwatch.doors.failure import LookFailed
from collectors.tls.starttls import PROTOCOLS, smtp, smtp_reply

EHLO = b"EHLO certwatch.invalid\r\n"
STARTTLS = b"STARTTLS\r\n"


def play(*replies: bytes) -> tuple[list[bytes], bool]:
    """What we said after each reply, and whether TLS begins."""
    talk = Conversation(smtp("mx:25"), "mx:25")
    said = [talk.start(), *(talk.receive(reply) for reply in replies)]
    return said, talk.done


def refusal(*replies: bytes) -> LookFailed:
    with pytest.raises(LookFailed) as caught:
        play(*replies)
    assert caught.value.message.startswith("mx:25: ")
    assert caught.value.message.isprintable()
    return caught.value


def test_smtp_greets_asks_and_begins() -> None:
    said, done = play(
        b"220 mx ESMTP\r\n", b"250-mx\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250 HELP\r\n", b"220 Ready\r\n"
    )
    assert said == [b"", EHLO, STARTTLS, b""]
    assert done


def test_a_greeting_of_many_lines_is_one_reply() -> None:
    said, _ = play(b"220-mx\r\n", b"220-no spam\r\n22", b"0 go ahead\r\n")
    assert said == [b"", b"", b"", EHLO]


def test_starttls_is_found_in_any_case_and_place() -> None:
    for features in (b"250-mx\r\n250 starttls\r\n", b"250-mx\n250-STARTTLS \n250 X\n"):
        assert play(b"220 mx\r\n", features)[0][-1] == STARTTLS


def test_a_host_called_starttls_does_not_offer_it() -> None:
    assert refusal(b"220 mx\r\n", b"250 STARTTLS\r\n").kind == "not-tls"


@pytest.mark.parametrize(
    ("replies", "kind", "says"),
    [
        ([b"554 No SMTP service here\r\n"], "not-tls", '"554 No SMTP service here"'),
        ([b"421-busy\r\n421 later\r\n"], "not-tls", '"421-busy"'),
        ([b"+OK POP3\r\n"], "malformed", "not SMTP"),
        ([b"\x1b[31m\r\n"], "malformed", "not SMTP"),
        ([b"220 mx\r\n", b"502 unknown command\r\n"], "not-tls", "EHLO"),
        ([b"220 mx\r\n", b"250-mx\r\n250 PIPELINING\r\n"], "not-tls", "does not offer STARTTLS"),
        ([b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"454 TLS not available\r\n"], "not-tls", '"454 TLS'),
        (
            [b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n"],
            "malformed",
            "injected",
        ),
    ],
)
def test_a_server_that_does_not_begin_tls_is_told_apart(replies: list[bytes], kind: str, says: str) -> None:
    failure = refusal(*replies)
    assert failure.kind == kind
    assert says in failure.message


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
def test_a_reply_ends_with_its_last_line(buffer: bytes, length: int | None) -> None:
    assert smtp_reply(buffer) == length


PIECES = st.lists(
    st.binary(max_size=30)
    | st.sampled_from([b"220 mx\r\n", b"250-mx\r\n", b"250 STARTTLS\r\n", b"220-", b"\r\n", b"554 no\r\n"]),
    max_size=20,
)


@given(st.sampled_from(sorted(PROTOCOLS)), PIECES)
def test_whatever_a_server_says_a_dialogue_goes_on_ends_or_fails_cleanly(
    protocol: str, pieces: list[bytes]
) -> None:
    talk = Conversation(PROTOCOLS[protocol].dialogue("mx:25"), "mx:25")
    talk.start()
    try:
        for piece in pieces:
            if talk.done:
                break
            talk.receive(piece)
    except LookFailed as failure:
        assert failure.message.isprintable()
    finally:
        talk.close()


@given(st.lists(st.integers(1, 20), max_size=30))
def test_how_the_network_cuts_the_bytes_makes_no_difference(cuts: list[int]) -> None:
    talk = Conversation(smtp("mx:25"), "mx:25")
    said = talk.start()
    for reply in (b"220-mx\r\n220 ESMTP\r\n", b"250-mx\r\n250-SIZE\r\n250 STARTTLS\r\n", b"220 go\r\n"):
        rest = reply
        for cut in cuts:
            said += talk.receive(rest[:cut]) if rest[:cut] else b""
            rest = rest[cut:]
        said += talk.receive(rest) if rest else b""
    assert said == EHLO + STARTTLS
    assert talk.done
