"""Conversations as scripts: what is sent, what comes back, in any pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.dialogue import MAX_REPLY, Conversation, Dialogue, Send
from certwatch.doors.failure import LookFailed, shown


def line(buffer: bytes) -> int | None:
    end = buffer.find(b"\n")
    return end + 1 if end >= 0 else None


def question(answers: list[bytes]) -> Dialogue:
    answers.append((yield Send(b"", line)))
    answers.append((yield Send(b"TLS?\n", line)))
    return None


def test_a_reply_is_given_whole_however_it_arrives() -> None:
    answers: list[bytes] = []
    talk = Conversation(question(answers), "here")
    assert talk.start() == b""
    assert [talk.receive(bytes([byte])) for byte in b"hello\n"][-1] == b"TLS?\n"
    assert talk.receive(b"yes\n") == b""
    assert talk.done
    assert answers == [b"hello\n", b"yes\n"]


def test_bytes_behind_the_last_reply_never_reach_tls() -> None:
    talk = Conversation(question([]), "mx:25")
    talk.start()
    talk.receive(b"hello\n")
    with pytest.raises(LookFailed, match="injected") as caught:
        talk.receive(b"yes\n250 injected\n")
    assert caught.value.kind == "malformed"
    assert caught.value.message.startswith("mx:25: ")


def test_an_endless_reply_is_given_up() -> None:
    talk = Conversation(question([]), "mx:25")
    talk.start()
    with pytest.raises(LookFailed) as caught:
        for _ in range(MAX_REPLY):
            talk.receive(b"xx")
    assert caught.value.kind == "malformed"


def test_replies_that_come_before_they_are_asked_for_are_taken_in_order() -> None:
    answers: list[bytes] = []
    talk = Conversation(question(answers), "here")
    talk.start()
    assert talk.receive(b"hello\nyes\n") == b"TLS?\n"
    assert talk.done
    assert answers == [b"hello\n", b"yes\n"]


@given(st.binary(max_size=200), st.integers(1, 100))
def test_what_is_shown_is_printable_and_one_line(data: bytes, limit: int) -> None:
    text = shown(data, limit)
    assert text.isprintable()
    assert len(text) <= limit + 3
