"""Mail: SMTP, submission and LMTP; IMAP; POP3; ManageSieve."""

from certwatch.doors.dialogue import Dialogue, Send
from collectors.tls.starttls.replies import (
    coded,
    dotted,
    expect_code,
    line,
    not_offered,
    refused,
    strange,
    until_line,
    words,
)

#: What we call ourselves in EHLO. A name that can never be anyone's (RFC 6761, 6.4), with a dot, since some
#: servers refuse names without.
EHLO_NAME = b"certwatch.invalid"

_GREETING = "It refuses us: check its log and its access rules"
_SETUP = "Check its TLS set-up and its log"


def smtp(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS of SMTP (RFC 3207)."""
    return _smtp(where, "SMTP", b"EHLO", "Check that it speaks ESMTP")


def lmtp(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS of LMTP, which greets by LHLO (RFC 2033, 4.1)."""
    return _smtp(where, "LMTP", b"LHLO", "Check that it speaks LMTP, and not SMTP")


def _smtp(where: str, protocol: str, hello: bytes, advice: str) -> Dialogue:
    greeting = yield Send(b"", coded)
    expect_code(where, protocol, b"220", greeting, "greeted with", _GREETING)
    features = yield Send(hello + b" " + EHLO_NAME + b"\r\n", coded)
    expect_code(where, protocol, b"250", features, f"answered {hello.decode()} with", advice)
    # The first line is the server's name, which may be anything.
    if b"STARTTLS" not in words(each[4:] for each in features.splitlines()[1:]):
        raise not_offered(where)
    ready = yield Send(b"STARTTLS\r\n", coded)
    expect_code(where, protocol, b"220", ready, "offers STARTTLS and answered it with", _SETUP)
    return None


def imap(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS of IMAP (RFC 9051, 6.2.1)."""
    greeting = yield Send(b"", line)
    kind = greeting.upper()
    if kind.startswith(b"* PREAUTH"):
        # STARTTLS is for those who are not logged in yet (RFC 9051, 7.1.4).
        raise refused(where, "greeted with", greeting, "It logs us in at once and then knows no STARTTLS")
    if kind.startswith(b"* BYE"):
        raise refused(where, "greeted with", greeting, _GREETING)
    if not kind.startswith(b"* OK"):
        raise strange(where, "greeted with", greeting, "IMAP")
    reply = yield Send(b"a CAPABILITY\r\n", until_line(b"A ", b"* BYE"))
    _expect_tagged(where, b"A", reply, "answered CAPABILITY with", "Check that it speaks IMAP4rev1")
    offered = {
        word
        for each in reply.upper().splitlines()
        if each.startswith(b"* CAPABILITY ")
        for word in each.split()
    }
    if b"STARTTLS" not in offered:
        raise not_offered(where)
    reply = yield Send(b"b STARTTLS\r\n", until_line(b"B ", b"* BYE"))
    _expect_tagged(where, b"B", reply, "offers STARTTLS and answered it with", _SETUP)
    return None


def _expect_tagged(where: str, tag: bytes, reply: bytes, did: str, advice: str) -> None:
    last = reply.splitlines()[-1]
    verdict = last.upper().split(maxsplit=2)
    if verdict[:2] == [tag, b"OK"]:
        return
    if verdict[:2] in ([tag, b"NO"], [tag, b"BAD"], [b"*", b"BYE"]):
        raise refused(where, did, last, advice)
    raise strange(where, did, last, "IMAP")


def pop3(where: str, server_name: str | None = None) -> Dialogue:
    """STLS of POP3 (RFC 2595, 4)."""
    greeting = yield Send(b"", line)
    _expect_ok(where, greeting, "greeted with", _GREETING)
    capabilities = yield Send(b"CAPA\r\n", _capabilities)
    # Servers from before RFC 2449 know no CAPA; they may know STLS.
    if capabilities.startswith(b"+OK") and b"STLS" not in words(capabilities.splitlines()[1:]):
        raise not_offered(where, "STLS")
    ready = yield Send(b"STLS\r\n", line)
    _expect_ok(where, ready, "answered STLS with", _SETUP)
    return None


def _capabilities(buffer: bytes) -> int | None:
    return dotted(buffer) if buffer.startswith(b"+OK"[: len(buffer)]) else line(buffer)


def _expect_ok(where: str, reply: bytes, did: str, advice: str) -> None:
    if reply.startswith(b"+OK"):
        return
    raise (
        refused(where, did, reply, advice)
        if reply.startswith(b"-ERR")
        else strange(where, did, reply, "POP3")
    )


#: A reply of ManageSieve ends with one of these (RFC 5804, 1.2).
_SIEVE_END = until_line(b"OK", b"NO", b"BYE")


def sieve(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS of ManageSieve (RFC 5804, 2.2)."""
    greeting = yield Send(b"", _SIEVE_END)
    lines = greeting.splitlines()
    # It begins with what it can do, each in quotes.
    if not greeting.startswith(b'"') and not lines[-1].upper().startswith((b"NO", b"BYE")):
        raise strange(where, "greeted with", greeting, "ManageSieve")
    if not lines[-1].upper().startswith(b"OK"):
        raise refused(where, "greeted with", lines[-1], _GREETING)
    if b'"STARTTLS"' not in words(lines):
        raise not_offered(where)
    ready = yield Send(b"STARTTLS\r\n", _SIEVE_END)
    verdict = ready.upper()
    if not verdict.startswith((b"OK", b"NO", b"BYE")):
        raise strange(where, "answered STARTTLS with", ready, "ManageSieve")
    if not verdict.startswith(b"OK"):
        raise refused(where, "offers STARTTLS and answered it with", ready, _SETUP)
    return None
