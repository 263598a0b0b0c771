"""How other protocols begin, where TLS was expected, and what to do about it."""

from certwatch.doors.failure import shown

_GREETINGS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/", "speaks HTTP without TLS. Check the port"),
    (b"SSH-", "speaks SSH. Check the port"),
    (b"220", "speaks SMTP or FTP in the clear. Add its protocol to the target: host:port/smtp"),
    (b"421", "speaks SMTP or FTP in the clear and refuses. Add its protocol to the target: host:port/smtp"),
    (b"554", "speaks SMTP in the clear and refuses. Add its protocol to the target: host:port/smtp"),
    (b"* OK", "speaks IMAP in the clear. Add its protocol to the target: host:port/imap"),
    (b"+OK", "speaks POP3 in the clear. Add its protocol to the target: host:port/pop3"),
    (b"-ERR", "speaks Redis or POP3 in the clear. Name the port of its TLS service"),
    (b"200 ", "speaks NNTP in the clear. Add its protocol to the target: host:port/nntp"),
    (b"201 ", "speaks NNTP in the clear. Add its protocol to the target: host:port/nntp"),
    (b'"IMPLEMENTATION"', "speaks ManageSieve in the clear. Add its protocol to the target: host:port/sieve"),
    (b"<?xml", "speaks XMPP in the clear. Add its protocol to the target: host:port/xmpp-client"),
    (b"<stream", "speaks XMPP in the clear. Add its protocol to the target: host:port/xmpp-client"),
)


def not_tls(start: bytes) -> str | None:
    """Why these first bytes are no TLS record of a handshake or an alert (RFC 8446, 5.1). None: they may be."""
    if start[0] in (21, 22) and start[1:2] in (b"", b"\x03"):
        return None
    for greeting, what in _GREETINGS:
        if start.startswith(greeting) or (len(start) < len(greeting) and greeting.startswith(start)):
            return f"{what}."
    if start[3:5] == b"\0\x0a":
        return "speaks MySQL in the clear. Add its protocol to the target: host:port/mysql."
    return f"does not speak TLS, it answered {shown(start, 40)}. Check the port."
