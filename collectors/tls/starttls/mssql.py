"""Microsoft SQL Server: TDS up to 7.4, where the TLS handshake itself travels inside TDS packets ([MS-TDS], 2.2.6.5)."""

from certwatch.doors.dialogue import MAX_REPLY, Dialogue, Send
from certwatch.doors.failure import LookFailed, shown

_HEADER = 8
PRELOGIN, RESPONSE = 0x12, 0x04
_END_OF_MESSAGE = 0x01
#: Options of PRELOGIN.
VERSION, ENCRYPTION, INSTANCE, THREAD, TERMINATOR = 0x00, 0x01, 0x02, 0x03, 0xFF
#: Values of ENCRYPTION.
ENCRYPT_OFF, ENCRYPT_ON, ENCRYPT_NOT_SUPPORTED, ENCRYPT_REQUIRED = 0x00, 0x01, 0x02, 0x03
#: Most bytes of a packet before the login has agreed on another size ([MS-TDS], 2.2.3.1.5).
_PACKET = 4096
#: What TLS records begin with.
_TLS = frozenset({0x14, 0x15, 0x16, 0x17})


def packets(kind: int, data: bytes) -> bytes:
    """A message as packets of that type; the last one ends it."""
    out = b""
    size = _PACKET - _HEADER
    for start in range(0, max(len(data), 1), size):
        piece = data[start : start + size]
        last = start + size >= len(data)
        out += bytes([kind, _END_OF_MESSAGE if last else 0])
        out += (len(piece) + _HEADER).to_bytes(2, "big") + bytes([0, 0, start // size + 1 & 0xFF, 0]) + piece
    return out


def prelogin(options: dict[int, bytes]) -> bytes:
    """The payload of a PRELOGIN: a table of tokens, then their values ([MS-TDS], 2.2.6.5)."""
    offset = 5 * len(options) + 1
    table = values = b""
    for token, value in options.items():
        table += bytes([token]) + (offset + len(values)).to_bytes(2, "big") + len(value).to_bytes(2, "big")
        values += value
    return table + bytes([TERMINATOR]) + values


HELLO = packets(
    PRELOGIN,
    prelogin({VERSION: bytes(6), ENCRYPTION: bytes([ENCRYPT_ON]), INSTANCE: b"\0", THREAD: bytes(4)}),
)


def tds_message(buffer: bytes) -> int | None:
    """Frame of a message: packets up to one that ends it. What is no answer is taken as it is."""
    start = 0
    while len(buffer) >= start + _HEADER:
        length = int.from_bytes(buffer[start + 2 : start + 4], "big")
        if buffer[start] not in (RESPONSE, PRELOGIN) or length <= _HEADER or start + length > MAX_REPLY:
            return len(buffer)
        if len(buffer) < start + length:
            return None
        if buffer[start + 1] & _END_OF_MESSAGE:
            return start + length
        start += length
    # A stranger's first byte is enough to know it.
    return len(buffer) if buffer and buffer[0] not in (RESPONSE, PRELOGIN) else None


def mssql(where: str, server_name: str | None = None) -> Dialogue:
    """PRELOGIN; then TLS within PRELOGIN packets."""
    reply = yield Send(HELLO, tds_message)
    encryption = _option(_payload(reply), ENCRYPTION)
    if encryption is None or len(encryption) != 1:
        raise LookFailed(
            "malformed",
            f"{where}: answered PRELOGIN with {shown(reply, 40)}, which is not TDS. Check the port; servers that"
            " demand strict encryption (TDS 8.0) speak TLS from the first byte: leave /mssql away.",
        )
    if encryption[0] == ENCRYPT_NOT_SUPPORTED:
        raise LookFailed(
            "not-tls",
            f"{where}: SQL Server offers no encryption. Give it a certificate, or remove the target.",
        )
    return Packets(where)


def _payload(message: bytes) -> bytes:
    payload, start = b"", 0
    while len(message) >= start + _HEADER:
        length = int.from_bytes(message[start + 2 : start + 4], "big")
        payload += message[start + _HEADER : start + length]
        start += max(length, _HEADER)
    return payload


def _option(payload: bytes, wanted: int) -> bytes | None:
    at = 0
    while at + 5 <= len(payload) and payload[at] != TERMINATOR:
        offset = int.from_bytes(payload[at + 1 : at + 3], "big")
        length = int.from_bytes(payload[at + 3 : at + 5], "big")
        if payload[at] == wanted:
            return payload[offset : offset + length]
        at += 5
    return None


class Packets:
    """Carries TLS inside TDS packets, both ways, while the handshake lasts. Owned by one connection."""

    __slots__ = ("_buffer", "_where")

    def __init__(self, where: str) -> None:
        self._where = where
        self._buffer = b""

    def wrap(self, data: bytes) -> bytes:
        return packets(PRELOGIN, data)

    def unwrap(self, data: bytes) -> bytes:
        """What the whole packets among it hold. Raises LookFailed."""
        self._buffer += data
        out = b""
        while self._buffer:
            if self._buffer[0] in _TLS:
                # Some send an alert as it is; OpenSSL judges it.
                out, self._buffer = out + self._buffer, b""
                break
            if self._buffer[0] not in (PRELOGIN, RESPONSE):
                raise LookFailed(
                    "malformed",
                    f"{self._where}: sent {shown(self._buffer, 40)} amid the TLS handshake, which is no TDS packet.",
                )
            if len(self._buffer) < _HEADER:
                break
            length = int.from_bytes(self._buffer[2:4], "big")
            if length < _HEADER:
                raise LookFailed("malformed", f"{self._where}: sent a TDS packet of {length} bytes.")
            if len(self._buffer) < length:
                break
            out += self._buffer[_HEADER:length]
            self._buffer = self._buffer[length:]
        return out
