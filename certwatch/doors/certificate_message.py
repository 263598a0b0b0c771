"""The Certificate message of a TLS handshake, as bytes: exactly what was presented, readable or not.

OpenSSL refuses a handshake with a certificate that it cannot parse and hands out nothing; the message itself
still tells. Every function here takes any bytes and raises nothing: what is cut off is left out, and so is what comes after
`MOST` certificates.
"""

from dataclasses import dataclass

TLS13 = 0x0304
#: Extension status_request: a stapled OCSP response (RFC 8446, 4.4.2.1).
STATUS_REQUEST = 5
#: Extension signed_certificate_timestamp: timestamps of CT logs (RFC 6962, 3.3.1).
TIMESTAMPS = 18
#: A list of them that is longer is none: each takes 120 bytes, and browsers ask for three.
MAX_TIMESTAMPS = 8192
#: CertificateStatusType ocsp (RFC 6066, 8).
OCSP = 1
#: Certificates taken from one message. OpenSSL follows no path that is longer, nobody has one that is. A hostile server fits
#: fifty thousand into a message, others each time, and all of them would be kept.
MOST = 100


@dataclass(frozen=True, slots=True)
class Presented:
    #: Each certificate's DER in the order of the message.
    chain: tuple[bytes, ...] = ()
    #: The first certificate's stapled OCSP response (TLS 1.3 only). None: none.
    stapled_ocsp: bytes | None = None
    #: SignedCertificateTimestampList for the first certificate, sent in the handshake. None: none.
    timestamps: bytes | None = None


def read_certificate(message: bytes, version: int) -> Presented:
    """A Certificate message with its four header bytes, of TLS 1.3 (RFC 8446, 4.4.2) or of a version before
    (RFC 5246, 7.4.2). `version`: on the wire, 0x0303."""
    at = 4
    tls13 = version >= TLS13
    if tls13:
        at += 1 + (message[at] if len(message) > at else 0)
    end = min(len(message), at + 3 + int.from_bytes(message[at : at + 3], "big"))
    at += 3
    chain: list[bytes] = []
    stapled = timestamps = None
    while at + 3 <= end and len(chain) < MOST:
        length = int.from_bytes(message[at : at + 3], "big")
        at += 3
        if length == 0 or at + length > end:
            break
        chain.append(message[at : at + length])
        at += length
        if tls13:
            extensions = int.from_bytes(message[at : at + 2], "big")
            at += 2
            if extensions and len(chain) == 1:
                found = message[at : min(end, at + extensions)]
                status = _extension(found, STATUS_REQUEST)
                stapled = read_status(status) if status is not None else None
                timestamps = _timestamps(found)
            at += extensions
    return Presented(tuple(chain), stapled, timestamps)


def read_server_hello(message: bytes) -> bytes | None:
    """The timestamps in a ServerHello with its four header bytes, of TLS before 1.3 (RFC 5246, 7.4.1.3). None: none."""
    at = 4 + 2 + 32
    at += 1 + (message[at] if len(message) > at else 0) + 2 + 1
    length = int.from_bytes(message[at : at + 2], "big")
    return _timestamps(message[at + 2 : at + 2 + length])


def _timestamps(extensions: bytes) -> bytes | None:
    found = _extension(extensions, TIMESTAMPS)
    return found if found and len(found) <= MAX_TIMESTAMPS else None


def _extension(extensions: bytes, wanted: int) -> bytes | None:
    at = 0
    while at + 4 <= len(extensions):
        kind = int.from_bytes(extensions[at : at + 2], "big")
        length = int.from_bytes(extensions[at + 2 : at + 4], "big")
        at += 4
        if kind == wanted:
            return extensions[at : at + length]
        at += length
    return None


def read_status(status: bytes) -> bytes | None:
    """The OCSP response in a CertificateStatus (RFC 6066, 8), without message header. None: none, or cut off."""
    length = int.from_bytes(status[1:4], "big")
    if len(status) < 4 or status[0] != OCSP or not 0 < length <= len(status) - 4:
        return None
    return status[4 : 4 + length]
