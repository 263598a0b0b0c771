"""CSRs as no library writes them: DER by hand, with a true signature over whatever it is."""

from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwatch.plugins.testing import key

SEQUENCE, SET, UTF8, PRINTABLE, DNS = 0x30, 0x31, 0x0C, 0x13, 0x82
CN, EXTENSIONS, SAN = "2.5.4.3", "1.2.840.113549.1.9.14", "2.5.29.17"


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(each) for each in dotted.split("."))
    written = bytearray([first * 40 + second])
    for arc in rest:
        groups = [arc & 127]
        while arc := arc >> 7:
            groups.append(128 | arc & 127)
        written += bytes(reversed(groups))
    return tlv(6, bytes(written))


def name(*attributes: tuple[str, bytes]) -> bytes:
    return tlv(SEQUENCE, *(tlv(SET, tlv(SEQUENCE, oid(type), value)) for type, value in attributes))


def alternatives(*names: bytes) -> bytes:
    return tlv(SEQUENCE, oid(SAN), tlv(4, tlv(SEQUENCE, *names)))


def attribute(type: str, *values: bytes) -> bytes:
    return tlv(SEQUENCE, oid(type), tlv(SET, *values))


def asks_for(*host_names: str) -> bytes:
    """The attribute that asks for these names."""
    return attribute(
        EXTENSIONS, tlv(SEQUENCE, alternatives(*(tlv(DNS, each.encode()) for each in host_names)))
    )


def raw_csr(subject: bytes, attributes: Iterable[bytes], *, version: int = 0) -> bytes:
    private = key("ec", 7)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = tlv(SEQUENCE, tlv(2, bytes([version])), subject, public, tlv(0xA0, *attributes))
    signature = private.sign(info, ec.ECDSA(hashes.SHA256()))
    return tlv(SEQUENCE, info, tlv(SEQUENCE, oid("1.2.840.10045.4.3.2")), tlv(3, b"\0", signature))
