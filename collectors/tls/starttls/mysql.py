"""MySQL and MariaDB."""

from certwatch.doors.dialogue import MAX_REPLY, Dialogue, Send
from certwatch.doors.failure import LookFailed, shown

#: Capability flags (MySQL, Client/Server Protocol).
CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SSL, CLIENT_SECURE_CONNECTION = 0x1, 0x200, 0x800, 0x8000
CLIENT_PLUGIN_AUTH = 0x80000
_FLAGS = (
    CLIENT_LONG_PASSWORD | CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH
)
_UTF8MB4 = 45
_BODY = (
    _FLAGS.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + bytes([_UTF8MB4]) + bytes(23)
)  # fmt: skip
#: The beginning of a login up to where the user would stand: then TLS begins, without an answer.
SSL_REQUEST = len(_BODY).to_bytes(3, "little") + b"\x01" + _BODY

_V10, _ERROR = 0x0A, 0xFF


def mysql_packet(buffer: bytes) -> int | None:
    """Frame of a packet: three bytes of length, a number, the payload. What is too long for a greeting is taken as
    it is."""
    if len(buffer) < 5:
        return None
    end = 4 + int.from_bytes(buffer[:3], "little")
    # A server's first packet has the number 0.
    if buffer[3] != 0 or end > MAX_REPLY or end == 4:
        return len(buffer)
    return end if end <= len(buffer) else None


def _nothing(buffer: bytes) -> int | None:
    return 0


def mysql(where: str, server_name: str | None = None) -> Dialogue:
    """SSLRequest after the server's greeting (Protocol::HandshakeV10)."""
    greeting = yield Send(b"", mysql_packet)
    payload = greeting[4:]
    if payload[:1] == bytes([_ERROR]):
        # Code, and from 4.1 on a state: "Host … is not allowed", "is blocked because of many connection errors".
        raise LookFailed(
            "not-tls",
            f"{where}: refused us: {shown(payload[3:], 160)}. Check its access rules, max_connections and"
            " max_connect_errors.",
        )
    version_end = payload.find(b"\0", 1)
    flags = payload[version_end + 14 : version_end + 16]
    if greeting[3:4] != b"\0" or payload[:1] != bytes([_V10]) or version_end < 0 or len(flags) < 2:
        raise LookFailed(
            "malformed", f"{where}: greeted with {shown(greeting, 40)}, which is not MySQL. Check the port."
        )
    if not int.from_bytes(flags, "little") & CLIENT_SSL:
        raise LookFailed(
            "not-tls",
            f"{where}: {shown(payload[1:version_end], 60)} offers no TLS. Set ssl_cert and ssl_key, or remove the"
            " target.",
        )
    yield Send(SSL_REQUEST, _nothing)
    return None
