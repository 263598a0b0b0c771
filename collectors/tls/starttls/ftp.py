"""FTP."""

from certwatch.doors.dialogue import Dialogue, Send
from collectors.tls.starttls.replies import expect_code


def ftp_reply(buffer: bytes) -> int | None:
    """Frame of an FTP reply: between "220-…" and "220 …" there may be lines of any kind (RFC 959, 4.2)."""
    end = buffer.find(b"\n")
    if end < 0 or buffer[3:4] != b"-":
        return end + 1 or None
    last = buffer[:3] + b" "
    while (start := end + 1) and (end := buffer.find(b"\n", start)) >= 0:
        if buffer.startswith(last, start):
            return end + 1
    return None


def ftp(where: str, server_name: str | None = None) -> Dialogue:
    """AUTH TLS of FTP (RFC 4217, 4)."""
    greeting = yield Send(b"", ftp_reply)
    if greeting.startswith(b"120"):
        # "Service ready in nnn minutes": the greeting itself follows (RFC 959, 5.4).
        greeting = yield Send(b"", ftp_reply)
    expect_code(where, "FTP", b"220", greeting, "greeted with", "It refuses us: check its access rules")
    ready = yield Send(b"AUTH TLS\r\n", ftp_reply)
    expect_code(
        where,
        "FTP",
        b"234",
        ready,
        "answered AUTH TLS with",
        "Configure TLS on the server, or remove the target",
    )
    return None
