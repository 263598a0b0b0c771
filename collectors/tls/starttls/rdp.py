"""Remote Desktop."""

from certwatch.doors.dialogue import Dialogue, Send
from certwatch.doors.failure import LookFailed, shown

#: requestedProtocols ([MS-RDPBCGR], 2.2.1.1.1): TLS, and CredSSP, which begins with the same TLS.
PROTOCOL_SSL, PROTOCOL_HYBRID, PROTOCOL_HYBRID_EX = 1, 2, 8
#: X.224 Connection Request and Confirm; RDP Negotiation Request, Response and Failure.
_REQUEST, _CONFIRM = 0xE0, 0xD0
_NEG_REQUEST, _NEG_RESPONSE, _NEG_FAILURE = 1, 2, 3
#: failureCode ([MS-RDPBCGR], 2.2.1.2.2).
_FAILURES = {
    1: "it demands TLS and would not take ours",
    2: "its configuration does not allow TLS",
    3: "it has no certificate",
    5: "it demands CredSSP",
    6: "it demands TLS with a client certificate",
}


def tpkt(x224: bytes, negotiation: bytes = b"") -> bytes:
    """A TPKT (RFC 1006, 6) with an X.224 header and what follows it."""
    body = bytes([len(x224) + len(negotiation)]) + x224 + negotiation
    return b"\x03\x00" + (len(body) + 4).to_bytes(2, "big") + body


def negotiation(kind: int, value: int) -> bytes:
    return bytes([kind, 0]) + (8).to_bytes(2, "little") + value.to_bytes(4, "little")


CONNECT = tpkt(bytes([_REQUEST, 0, 0, 0, 0, 0]), negotiation(_NEG_REQUEST, PROTOCOL_SSL | PROTOCOL_HYBRID))


def rdp_packet(buffer: bytes) -> int | None:
    """Frame of a TPKT. What is none is taken as it is."""
    if not buffer:
        return None
    if buffer[0] != 3:
        return len(buffer)
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[2:4], "big")
    # An X.224 Connection Confirm has 7 bytes, and 8 of negotiation; a little more is let pass.
    if not 11 <= length <= 512:
        return len(buffer)
    return length if length <= len(buffer) else None


def rdp(where: str, server_name: str | None = None) -> Dialogue:
    """Negotiation of TLS in the X.224 connection ([MS-RDPBCGR], 5.4.2.1)."""
    reply = yield Send(CONNECT, rdp_packet)
    if reply[:1] != b"\x03" or reply[5:6] != bytes([_CONFIRM]):
        raise LookFailed(
            "malformed", f"{where}: answered with {shown(reply, 40)}, which is not RDP. Check the port."
        )
    kind, value = reply[11:12], int.from_bytes(reply[15:19], "little")
    if kind == bytes([_NEG_RESPONSE]) and value in (PROTOCOL_SSL, PROTOCOL_HYBRID, PROTOCOL_HYBRID_EX):
        return None
    why = (
        _FAILURES.get(value, f"failure {value}")
        if kind == bytes([_NEG_FAILURE])
        else "it knows only RDP's own security"
    )
    raise LookFailed(
        "not-tls", f"{where}: refused TLS: {why}. Set its security layer to TLS, or remove the target."
    )
