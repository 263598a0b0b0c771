"""A ClientHello of TLS 1.2, written by hand (RFC 5246, 7.4.1.2): made to be shown a certificate, not to go on."""

import os
from collections.abc import Mapping
from functools import lru_cache

#: Every suite that is offered, by OpenSSL's name, in the order in which it is: the strong ones first, the broken ones last,
#: so that a server without better is heard too. None without a certificate. 0xC0 0x2B is 0xC02B.
SUITES: Mapping[int, str] = {
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
    0x009E: "DHE-RSA-AES128-GCM-SHA256",
    0x009F: "DHE-RSA-AES256-GCM-SHA384",
    0xCCAA: "DHE-RSA-CHACHA20-POLY1305",
    0xC0AC: "ECDHE-ECDSA-AES128-CCM",
    0xC0AE: "ECDHE-ECDSA-AES128-CCM8",
    0xC05C: "ECDHE-ECDSA-ARIA128-GCM-SHA256",
    0xC060: "ECDHE-ARIA128-GCM-SHA256",
    0xC023: "ECDHE-ECDSA-AES128-SHA256",
    0xC027: "ECDHE-RSA-AES128-SHA256",
    0xC024: "ECDHE-ECDSA-AES256-SHA384",
    0xC028: "ECDHE-RSA-AES256-SHA384",
    0xC009: "ECDHE-ECDSA-AES128-SHA",
    0xC013: "ECDHE-RSA-AES128-SHA",
    0xC00A: "ECDHE-ECDSA-AES256-SHA",
    0xC014: "ECDHE-RSA-AES256-SHA",
    0x0067: "DHE-RSA-AES128-SHA256",
    0x006B: "DHE-RSA-AES256-SHA256",
    0x0033: "DHE-RSA-AES128-SHA",
    0x0039: "DHE-RSA-AES256-SHA",
    0xC076: "ECDHE-RSA-CAMELLIA128-SHA256",
    0x0045: "DHE-RSA-CAMELLIA128-SHA",
    0x0088: "DHE-RSA-CAMELLIA256-SHA",
    0x00A2: "DHE-DSS-AES128-GCM-SHA256",
    0x0032: "DHE-DSS-AES128-SHA",
    0x0038: "DHE-DSS-AES256-SHA",
    0x009C: "AES128-GCM-SHA256",
    0x009D: "AES256-GCM-SHA384",
    0xC09C: "AES128-CCM",
    0x003C: "AES128-SHA256",
    0x003D: "AES256-SHA256",
    0x002F: "AES128-SHA",
    0x0035: "AES256-SHA",
    0x0041: "CAMELLIA128-SHA",
    0x0084: "CAMELLIA256-SHA",
    0x0096: "SEED-SHA",
    0xC008: "ECDHE-ECDSA-DES-CBC3-SHA",
    0xC012: "ECDHE-RSA-DES-CBC3-SHA",
    0x0016: "DHE-RSA-DES-CBC3-SHA",
    0x000A: "DES-CBC3-SHA",
    0xC007: "ECDHE-ECDSA-RC4-SHA",
    0xC011: "ECDHE-RSA-RC4-SHA",
    0x0005: "RC4-SHA",
    0x0004: "RC4-MD5",
    0x0007: "IDEA-CBC-SHA",
    0x0009: "DES-CBC-SHA",
    0xC006: "ECDHE-ECDSA-NULL-SHA",
    0xC010: "ECDHE-RSA-NULL-SHA",
    0x003B: "NULL-SHA256",
    0x0002: "NULL-SHA",
    0x0001: "NULL-MD5",
}
#: TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746, 3.3).
_RENEGOTIATION = 0x00FF
#: x25519, secp256r1, secp384r1, secp521r1, x448, brainpoolP256r1, P384r1, P512r1, ffdhe2048, ffdhe3072, ffdhe4096.
_GROUPS = (29, 23, 24, 25, 30, 26, 27, 28, 256, 257, 258)
#: ECDSA, EdDSA, RSA-PSS (both kinds), PKCS #1, then SHA-224, SHA-1, DSA and MD5 (RFC 8446, 4.2.3; RFC 5246, 7.4.1.4.1).
_SIGNATURES = (
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B, 0x081A, 0x081B, 0x081C,
    0x0401, 0x0501, 0x0601, 0x0303, 0x0301, 0x0203, 0x0201, 0x0402, 0x0202, 0x0101,
)  # fmt: skip


def _list(numbers: tuple[int, ...], prefix: int = 2) -> bytes:
    body = b"".join(each.to_bytes(2, "big") for each in numbers)
    return len(body).to_bytes(prefix, "big") + body


def _extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


_SUITES_AND_COMPRESSION = _list((*SUITES, _RENEGOTIATION)) + b"\x01\x00"
_EXTENSIONS = (
    _extension(23, b"")  # extended_master_secret (RFC 7627)
    + _extension(10, _list(_GROUPS))
    + _extension(11, b"\x01\x00")  # ec_point_formats: uncompressed
    + _extension(13, _list(_SIGNATURES))
)
#: supported_versions is not there: a server that speaks TLS 1.3 answers as to a client of TLS 1.2 (RFC 8446, 4.2.1).
_ALPN = _extension(16, b"\x00\x0c\x02h2\x08http/1.1")


def client_hello(server_name: str | None, *, alpn: bool) -> bytes:
    """One record. `server_name`: A-labels, at most 253 characters; None: no SNI."""
    before, after = _around_the_random(server_name, alpn)
    return before + os.urandom(32) + after


@lru_cache(maxsize=256)
def _around_the_random(server_name: str | None, alpn: bool) -> tuple[bytes, bytes]:
    extensions = _EXTENSIONS + (_ALPN if alpn else b"")
    if server_name is not None:
        name = server_name.encode("ascii")
        # One host_name in a list (RFC 6066, 3).
        entry = b"\x00" + len(name).to_bytes(2, "big") + name
        extensions = _extension(0, len(entry).to_bytes(2, "big") + entry) + extensions
    after = b"\x00" + _SUITES_AND_COMPRESSION + len(extensions).to_bytes(2, "big") + extensions
    body = (2 + 32 + len(after)).to_bytes(3, "big")
    # The record says 1.0 for the sake of old servers (RFC 5246, E.1).
    record = (4 + 2 + 32 + len(after)).to_bytes(2, "big")
    return b"\x16\x03\x01" + record + b"\x01" + body + b"\x03\x03", after
