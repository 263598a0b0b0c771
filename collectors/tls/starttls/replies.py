"""How text protocols answer: where a reply ends, and what to say of one that is not the wanted one."""

from collections.abc import Iterable

from certwatch.doors.dialogue import Frame
from certwatch.doors.failure import LookFailed, shown

#: What an operator does about a server that knows no STARTTLS.
NOT_OFFERED = "does not offer {}. Configure TLS on the server, or remove the target."


def line(buffer: bytes) -> int | None:
    """Frame of one line."""
    return buffer.find(b"\n") + 1 or None


def dotted(buffer: bytes) -> int | None:
    """Frame of lines up to one that is a dot (RFC 3977, 3.1.1; RFC 1939, 3)."""
    start = 0
    while (end := buffer.find(b"\n", start)) >= 0:
        if buffer[start:end].rstrip(b"\r") == b".":
            return end + 1
        start = end + 1
    return None


def coded(buffer: bytes) -> int | None:
    """Frame of a reply by code: "220-…" lines, the last one "220 …" or "220" (RFC 5321, 4.2)."""
    start = 0
    while (end := buffer.find(b"\n", start)) >= 0:
        if buffer[start + 3 : start + 4] != b"-":
            return end + 1
        start = end + 1
    return None


def until_line(*beginnings: bytes) -> Frame:
    """Frame of lines up to one with one of these beginnings, in upper case."""

    def frame(buffer: bytes) -> int | None:
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0:
            if buffer[start:end].upper().startswith(beginnings):
                return end + 1
            start = end + 1
        return None

    return frame


def words(lines: Iterable[bytes]) -> set[bytes]:
    """The first word of each line, in upper case."""
    return {each.split(maxsplit=1)[0].upper() for each in lines if each.strip()}


def not_offered(where: str, what: str = "STARTTLS") -> LookFailed:
    return LookFailed("not-tls", f"{where}: {NOT_OFFERED.format(what)}")


def refused(where: str, did: str, reply: bytes, advice: str) -> LookFailed:
    """It speaks the protocol and will not. `did`: "greeted with"."""
    return LookFailed("not-tls", f"{where}: {did} {_first(reply)}. {advice}.")


def strange(where: str, did: str, reply: bytes, protocol: str) -> LookFailed:
    """It speaks something else."""
    return LookFailed(
        "malformed", f"{where}: {did} {_first(reply)}, which is not {protocol}. Check the port."
    )


def expect_code(where: str, protocol: str, code: bytes, reply: bytes, did: str, advice: str) -> None:
    """A reply by code that begins so. Raises LookFailed: `not-tls` for another code, `malformed` for none."""
    if reply.startswith(code):
        return
    if not reply[:3].isdigit():
        raise strange(where, did, reply, protocol)
    raise refused(where, did, reply, advice)


def _first(reply: bytes) -> str:
    return shown(reply.partition(b"\n")[0].rstrip(b"\r"))
