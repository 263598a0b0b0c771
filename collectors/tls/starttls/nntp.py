"""Netnews."""

from certwatch.doors.dialogue import Dialogue, Send
from collectors.tls.starttls.replies import dotted, expect_code, line, not_offered, words


def _capabilities(buffer: bytes) -> int | None:
    return dotted(buffer) if buffer.startswith(b"101"[: len(buffer)]) else line(buffer)


def nntp(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS of NNTP (RFC 4642)."""
    greeting = yield Send(b"", line)
    # 200: posting allowed, 201: prohibited (RFC 3977, 5.1).
    expect_code(where, "NNTP", b"20", greeting, "greeted with", "It refuses us: check its access rules")
    capabilities = yield Send(b"CAPABILITIES\r\n", _capabilities)
    # Servers from before RFC 3977 know no CAPABILITIES; they may know STARTTLS.
    if capabilities.startswith(b"101") and b"STARTTLS" not in words(capabilities.splitlines()[1:]):
        raise not_offered(where)
    ready = yield Send(b"STARTTLS\r\n", line)
    expect_code(where, "NNTP", b"382", ready, "answered STARTTLS with", "Check its TLS set-up and its log")
    return None
