"""A probe by the prober tcp: connect, TLS, and what is said and expected (`query_response`)."""

import re
from collections.abc import Mapping
from typing import Any

import re2

from certwatch.doors.failure import shown
from certwatch.doors.stream import Ended, Stream
from exporters.prometheus.probe.answer import labelled
from exporters.prometheus.probe.looking import MAX_BYTES, Looking, ProbeFailed, address_of, begin_tls
from exporters.prometheus.probe.modules import QueryResponseKeys

#: Longest line that is held against an expression.
LONGEST_LINE = 64 << 10
_PLACE = re.compile(rb"\$(?:(\$)|\{(\w+)\}|(\w+))")


#: What is expected and then sent, before TLS.
STARTTLS: Mapping[str, tuple[tuple[Any, bytes], ...]] = {
    "smtp": (
        (re2.compile(b"^220 "), b"EHLO prober\r\n"),
        (re2.compile(b"^250[- ]STARTTLS"), b"STARTTLS\r\n"),
        (re2.compile(b"^220 "), b""),
    ),
    "ftp": ((re2.compile(b"^220 "), b"AUTH TLS\r\n"), (re2.compile(b"^234"), b"")),
    "imap": ((re2.compile(b"^[*] OK"), b"a STARTTLS\r\n"), (re2.compile(b"^a OK"), b"")),
    "pop3": ((re2.compile(b"^[+]OK"), b"STLS\r\n"), (re2.compile(b"^[+]OK"), b"")),
}


async def probe_tcp(looking: Looking) -> None:
    """Raises ProbeFailed, LookFailed: no success. Its time limit is the caller's."""
    keys = looking.ready.module.tcp
    looking.answer.put("probe_failed_due_to_regex", 0)
    looking.answer.put("probe_failed_due_to_bytes", 0)
    host, port = split_target(looking.target)
    address, _ = await address_of(looking, host, keys.preferred_ip_protocol, keys.ip_protocol_fallback)
    name = keys.tls_config.server_name or looking.hostname or host
    stream = await Stream.open(
        address, port, looking.target, max_bytes=MAX_BYTES, source=keys.source_ip_address or None
    )
    try:
        if keys.starttls:
            await _ask_for_tls(looking, stream, keys.starttls)
        if keys.tls:
            await begin_tls(looking, stream, name, leave=not keys.query_response)
        for number, step in enumerate(keys.query_response):
            await _step(looking, stream, step, number, name)
    finally:
        stream.close()


async def _ask_for_tls(looking: Looking, stream: Stream, protocol: str) -> None:
    """ssl_exporter's `starttls`."""
    if protocol == "postgres":
        # SSLRequest, answered by one byte (PostgreSQL, 55.2.11).
        stream.write(bytes.fromhex("0000000804d2162f"))
        await _expected_bytes(looking, stream, b"S")
        return
    for number, (expected, send) in enumerate(STARTTLS[protocol]):
        await _matching_line(looking, stream, expected, number)
        if send:
            looking.say(f"sending {shown(send)}")
            stream.write(send)


async def _step(looking: Looking, stream: Stream, step: QueryResponseKeys, number: int, name: str) -> None:
    send = step.send
    if step.expect is not None:
        match = await _matching_line(looking, stream, step.expect, number)
        send = expanded(send, match)
        if step.labels:
            labels = {
                each.name: expanded(each.value.encode(), match).decode("utf-8", "replace")
                for each in step.labels
            }
            looking.answer.put_labelled("probe_expect_info", labelled("probe_expect_info", labels))
    if step.expect_bytes:
        await _expected_bytes(looking, stream, step.expect_bytes)
    if send:
        looking.say(f"sending {shown(send)}")
        stream.write(send + b"\n")
    if step.starttls:
        await begin_tls(looking, stream, name)


async def _matching_line(looking: Looking, stream: Stream, expression: Any, number: int) -> Any:
    line = b""
    while True:
        try:
            line = await stream.line(LONGEST_LINE)
        except Ended:
            looking.answer.put("probe_failed_due_to_regex", 1)
            raise ProbeFailed(
                f"query_response {number}: no line matched {expression.pattern!r}, the last was {shown(line)}"
            ) from None
        looking.say(f"read {shown(line)}")
        match = expression.search(line)
        if match is not None:
            return match


async def _expected_bytes(looking: Looking, stream: Stream, expected: bytes) -> None:
    data = b""
    while len(data) < len(expected):
        try:
            data += await stream.some(len(expected) - len(data))
        except Ended:
            raise ProbeFailed(f"read {len(data)} bytes where {len(expected)} were expected") from None
    if data != expected:
        looking.answer.put("probe_failed_due_to_bytes", 1)
        raise ProbeFailed(f"expected {shown(expected)}, read {shown(data)}")


def expanded(template: bytes, match: Any) -> bytes:
    """As Go's regexp.Expand: $1, ${1}, ${name}, $$; what the expression has no group for is nothing."""

    def group(place: re.Match[bytes]) -> bytes:
        if place[1]:
            return b"$"
        name = (place[2] or place[3]).decode()
        try:
            value = match.group(int(name) if name.isdigit() else name)
        except (IndexError, KeyError, ValueError, OverflowError):
            return b""
        return bytes(value or b"")

    return _PLACE.sub(group, template)


def split_target(target: str) -> tuple[str, int]:
    """Raises ProbeFailed."""
    host, colon, port = target.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ProbeFailed(f"{target!r}: not host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ProbeFailed(f"{target!r}: an IPv6 address needs brackets")
    if not host:
        raise ProbeFailed(f"{target!r}: names no host")
    return host, int(port)
