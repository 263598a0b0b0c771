"""XMPP, from client to server and from server to server."""

import re
from html import escape

from certwatch.doors.dialogue import Dialogue, Send
from certwatch.doors.failure import LookFailed, shown
from collectors.tls.starttls.replies import not_offered

#: One tag: closing slash, name, attributes, slash of an empty element. Attribute values may hold ">".
_TAG = re.compile(rb"""<(/?)([^\s<>/!?"']+)((?:[^<>"'/]|"[^"<]*"|'[^'<]*'|/(?!>))*)(/?)>""")
_STARTTLS = re.compile(rb"""<(?:[^\s<>/:"']+:)?starttls[\s/>]""")
_NAMESPACE = b"urn:ietf:params:xml:ns:xmpp-tls"
_CONDITION = re.compile(rb"""<([a-z-]+)[^<>]{0,200}urn:ietf:params:xml:ns:xmpp-streams""")
#: Elements within elements that are followed.
_DEEPEST = 32


def _frame(buffer: bytes, depth: int) -> int | None:
    """Where the first child of the stream ends. `depth`: of what is open already, 1 within the stream.

    Comments, processing instructions and document types are forbidden (RFC 6120, 11.1) and not looked for.
    """
    start = buffer.lstrip()[:1]
    if start and start != b"<":
        return len(buffer)
    for tag in _TAG.finditer(buffer):
        if not tag[4]:
            depth += -1 if tag[1] else 1
        # An element that is closed within the stream, or the stream itself.
        if (tag[1] or tag[4]) and depth <= 1:
            return tag.end()
        if depth > _DEEPEST:
            return len(buffer)
    return None


def stream_and_features(buffer: bytes) -> int | None:
    """Frame of the stream's header and the first element in it (RFC 6120, 4.3.2)."""
    return _frame(buffer, 0)


def element(buffer: bytes) -> int | None:
    """Frame of one element within the stream."""
    return _frame(buffer, 1)


def xmpp_client(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS from client to server (RFC 6120, 5)."""
    return _xmpp(where, server_name, b"jabber:client")


def xmpp_server(where: str, server_name: str | None = None) -> Dialogue:
    """STARTTLS from server to server (RFC 6120, 5)."""
    return _xmpp(where, server_name, b"jabber:server")


def _xmpp(where: str, server_name: str | None, namespace: bytes) -> Dialogue:
    # A stream is to a domain; without a name there is only the address.
    domain = server_name or where.rpartition(":")[0].strip("[]")
    opened = yield Send(
        b"<?xml version='1.0'?><stream:stream to='" + escape(domain).encode() + b"' version='1.0' xmlns='"
        + namespace + b"' xmlns:stream='http://etherx.jabber.org/streams'>",
        stream_and_features,
    )  # fmt: skip
    _check(where, opened, "opened its stream with")
    if not (_STARTTLS.search(opened) and _NAMESPACE in opened):
        raise not_offered(where)
    reply = yield Send(b"<starttls xmlns='" + _NAMESPACE + b"'/>", element)
    _check(where, reply, "answered STARTTLS with")
    if not re.match(rb"\s*<(?:[^\s<>/:]+:)?proceed[\s/>]", reply):
        raise LookFailed(
            "not-tls",
            f"{where}: offers STARTTLS and answered it with {shown(reply)}. Check its TLS set-up and its log.",
        )
    return None


def _check(where: str, reply: bytes, did: str) -> None:
    if not reply.lstrip().startswith(b"<"):
        raise LookFailed("malformed", f"{where}: {did} {shown(reply)}, which is not XMPP. Check the port.")
    if re.search(rb"<(?:[^\s<>/:]+:)?error[\s/>]", reply):
        condition = _CONDITION.search(reply)
        name = condition[1].decode() if condition else ""
        advice = (
            "Ask for a domain that it serves: tls://host:port/?sni=example.com&protocol=…, or server_name"
            if name in ("host-unknown", "host-gone", "improper-addressing", "")
            else "See its log"
        )
        raise LookFailed("not-tls", f"{where}: refused the stream: {name or shown(reply)}. {advice}.")
    if not re.search(rb"<[^<>]*http://etherx\.jabber\.org/streams|" + _NAMESPACE, reply):
        raise LookFailed("malformed", f"{where}: {did} {shown(reply)}, which is not XMPP. Check the port.")
