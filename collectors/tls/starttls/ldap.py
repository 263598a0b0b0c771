"""LDAP."""

from certwatch.doors.dialogue import MAX_REPLY, Dialogue, Send
from certwatch.doors.failure import LookFailed, shown
from certwatch.x509.tlv import Unreadable, children, encode, header

#: The extended operation StartTLS (RFC 4511, 4.14.1).
OID = b"1.3.6.1.4.1.1466.20037"
_SEQUENCE, _INTEGER, _ENUMERATED = 0x30, 0x02, 0x0A
#: [APPLICATION 23] and [APPLICATION 24] (RFC 4511, 4.12).
_REQUEST, _RESPONSE = 0x77, 0x78
START_TLS = encode(_SEQUENCE, encode(_INTEGER, b"\x01") + encode(_REQUEST, encode(0x80, OID)))

#: resultCode (RFC 4511, 4.1.9) and what to do about it.
_ADVICE = {
    1: "It does so while something else is under way",
    2: "It knows no StartTLS: configure TLS on the server, or remove the target",
    13: "Its configuration demands another protection",
    51: "It is busy",
    52: "Its TLS is not set up, or it is shutting down: see its log",
}


def ldap_message(buffer: bytes) -> int | None:
    """Frame of an LDAPMessage. What is none, or is larger than any answer to StartTLS, is taken as it is."""
    if not buffer:
        return None
    if buffer[0] != _SEQUENCE:
        return len(buffer)
    if len(buffer) < 2 or (buffer[1] >= 0x80 and len(buffer) < 2 + (buffer[1] & 0x7F)):
        return None
    try:
        _, _, end = header(buffer, 0, len(buffer), truncated=True)
    except Unreadable:
        return len(buffer)
    if end > MAX_REPLY:
        return len(buffer)
    return end if end <= len(buffer) else None


def ldap(where: str, server_name: str | None = None) -> Dialogue:
    """The StartTLS operation of LDAP (RFC 4511, 4.14)."""
    reply = yield Send(START_TLS, ldap_message)
    code, diagnostic = _result(where, reply)
    if code != 0:
        said = f" ({shown(diagnostic)})" if diagnostic else ""
        raise LookFailed(
            "not-tls",
            f"{where}: refused StartTLS with result code {code}{said}."
            f" {_ADVICE.get(code, 'Configure TLS on the server, or remove the target')}.",
        )
    return None


def _result(where: str, message: bytes) -> tuple[int, bytes]:
    """resultCode and diagnosticMessage. Raises LookFailed."""
    try:
        ((tag, value),) = children(message)
        if tag == _SEQUENCE:
            parts = children(value)
            # The second: messageID, then the operation; controls may follow.
            if len(parts) >= 2 and parts[1][0] == _RESPONSE:
                fields = children(parts[1][1])
                if len(fields) >= 3 and fields[0][0] == _ENUMERATED and 0 < len(fields[0][1]) <= 4:
                    return int.from_bytes(fields[0][1], "big"), fields[2][1]
    except (Unreadable, ValueError):
        pass
    raise LookFailed(
        "malformed",
        f"{where}: answered StartTLS with {shown(message, 40)}, which is not LDAP. Check the port.",
    )
