"""What two programs say before TLS, as generators of steps: no socket here.

A dialogue yields what it sends and how it knows a whole reply, and gets the reply:

    def starttls_smtp() -> Dialogue:
        greeting = yield Send(b"", smtp_reply)
        reply = yield Send(b"STARTTLS\\r\\n", smtp_reply)

It returns when TLS may begin, and raises `LookFailed` when it may not. Where TLS does not travel bare it returns what
carries it. `Conversation` drives one over bytes.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from certwatch.doors.failure import LookFailed, shown

#: How many bytes at the front of what was received are one whole reply. None: more must come. Called again with
#: a longer buffer after each arrival.
Frame = Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class Send:
    """Send `data` (may be empty: the other side speaks first), then wait for one reply as `reply` frames it."""

    data: bytes
    reply: Frame


class Carrier(Protocol):
    """Carries the bytes of a TLS handshake inside packets of the protocol. Owned by one connection."""

    def wrap(self, data: bytes) -> bytes:
        """What to send for it."""
        ...

    def unwrap(self, data: bytes) -> bytes:
        """TLS bytes that have become whole by what arrived; may be none. Raises LookFailed."""
        ...


Dialogue = Generator[Send, bytes, Carrier | None]

#: Longest reply that is taken, in bytes. RFC 5321, 4.5.3.1.5 bounds a line by 512; a reply has many.
MAX_REPLY = 16 * 1024
#: Most pieces that one reply may come in: each is framed anew, and a server that sends byte by byte must not cost us
#: the square of its patience. Tarpits that drip a greeting stay far below.
MAX_PIECES = 1024


class Conversation:
    """Drives one dialogue over bytes. Owned by one connection."""

    __slots__ = ("_buffer", "_dialogue", "_frame", "_pieces", "_where", "carrier", "done")

    def __init__(self, dialogue: Dialogue, where: str) -> None:
        self._dialogue = dialogue
        self._where = where
        self._buffer = b""
        self._frame: Frame | None = None
        self._pieces = 0
        #: What carries TLS once it is `done`. None: nothing, it travels bare.
        self.carrier: Carrier | None = None
        #: True: TLS begins with the next byte, in both directions.
        self.done = False

    def start(self) -> bytes:
        """What to send first. May be empty."""
        return self._advance(None)

    def receive(self, data: bytes) -> bytes:
        """Take what arrived; what to send next.

        Raises LookFailed: what the dialogue says, `malformed` for an endless reply, or for bytes behind the
        last reply: whoever sits between may have put them there to be taken as if they had come through TLS
        (CVE-2011-0411), so they are never handed to TLS.
        """
        self._buffer += data
        self._pieces += 1
        out = b""
        while not self.done and self._frame is not None:
            length = self._frame(self._buffer)
            if length is None:
                if len(self._buffer) > MAX_REPLY or self._pieces > MAX_PIECES:
                    raise LookFailed(
                        "malformed",
                        f"{self._where}: a reply of more than {MAX_REPLY} bytes or {MAX_PIECES} pieces before TLS, beginning"
                        f" {shown(self._buffer)}. Check the port and the protocol of the target.",
                    )
                break
            reply, self._buffer = self._buffer[:length], self._buffer[length:]
            self._pieces = 0
            out += self._advance(reply)
        if self.done and self._buffer:
            raise LookFailed(
                "malformed",
                f"{self._where}: sent {shown(self._buffer)} in the clear where TLS begins. A command was"
                " injected on the way, or the server is broken.",
            )
        return out

    def _advance(self, reply: bytes | None) -> bytes:
        try:
            step = next(self._dialogue) if reply is None else self._dialogue.send(reply)
        except StopIteration as end:
            self.carrier = end.value
            self.done = True
            return b""
        self._frame = step.reply
        return step.data

    def close(self) -> None:
        self._dialogue.close()
