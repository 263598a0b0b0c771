"""What is said before TLS, by protocol: generators of steps (`certwatch.doors.dialogue`), without I/O.

A further protocol is a generator and a row in PROTOCOLS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from certwatch.doors.dialogue import Dialogue, Send
from certwatch.doors.failure import LookFailed, shown

#: What we call ourselves in EHLO. A name that can never be anyone's (RFC 6761, 6.4), with a dot, since some
#: servers refuse names without.
EHLO_NAME = b"certwatch.invalid"


def smtp_reply(buffer: bytes) -> int | None:
    """Frame of an SMTP reply: "220-…" lines, the last one "220 …" or "220" (RFC 5321, 4.2)."""
    start = 0
    while (end := buffer.find(b"\n", start)) >= 0:
        if buffer[start + 3 : start + 4] != b"-":
            return end + 1
        start = end + 1
    return None


def smtp(where: str) -> Dialogue:
    """STARTTLS of SMTP (RFC 3207)."""
    greeting = yield Send(b"", smtp_reply)
    _expect(where, b"220", greeting, "greeted with", "It refuses us: check its log and its access rules")
    features = yield Send(b"EHLO " + EHLO_NAME + b"\r\n", smtp_reply)
    _expect(where, b"250", features, "answered EHLO with", "Check that it speaks ESMTP")
    offered = {line[4:].strip().upper() for line in features.splitlines()[1:]}
    if b"STARTTLS" not in offered:
        raise LookFailed(
            "not-tls", f"{where}: does not offer STARTTLS. Configure TLS on the server, or remove the target."
        )
    ready = yield Send(b"STARTTLS\r\n", smtp_reply)
    _expect(where, b"220", ready, "offers STARTTLS and answered it with", "Check its TLS set-up and its log")


def _expect(where: str, code: bytes, reply: bytes, did: str, advice: str) -> None:
    if reply.startswith(code):
        return
    first = shown(reply.partition(b"\n")[0].rstrip(b"\r"))
    if not reply[:3].isdigit():
        raise LookFailed("malformed", f"{where}: {did} {first}, which is not SMTP. Check the port.")
    raise LookFailed("not-tls", f"{where}: {did} {first}. {advice}.")


@dataclass(frozen=True, slots=True)
class Protocol:
    default_port: int
    #: Makes the dialogue for one connection; the argument names the endpoint, for messages.
    dialogue: Callable[[str], Dialogue]


#: By the name that targets and `tls://…?protocol=` use.
PROTOCOLS: Mapping[str, Protocol] = {
    "smtp": Protocol(default_port=25, dialogue=smtp),
}
