"""Public keys and signature algorithms by their identifiers."""

from functools import lru_cache

from certwatch.model.certificate import PublicKey
from certwatch.x509.tlv import Unreadable, children, expect, object_identifier

#: Curve name (SEC 2, RFC 5639) and field size, by OID.
_CURVES = {
    "1.2.840.10045.3.1.1": ("secp192r1", 192),
    "1.3.132.0.33": ("secp224r1", 224),
    "1.2.840.10045.3.1.7": ("secp256r1", 256),
    "1.3.132.0.34": ("secp384r1", 384),
    "1.3.132.0.35": ("secp521r1", 521),
    "1.3.132.0.10": ("secp256k1", 256),
    "1.3.36.3.3.2.8.1.1.7": ("brainpoolP256r1", 256),
    "1.3.36.3.3.2.8.1.1.11": ("brainpoolP384r1", 384),
    "1.3.36.3.3.2.8.1.1.13": ("brainpoolP512r1", 512),
    "1.2.156.10197.1.301": ("sm2p256v1", 256),
}

_SIGNATURES = {
    "1.2.840.113549.1.1.2": "md2WithRSAEncryption",
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.3.14.3.2.29": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.2.840.113549.1.1.14": "sha224WithRSAEncryption",
    "1.2.840.10040.4.3": "dsa-with-SHA1",
    "2.16.840.1.101.3.4.3.1": "dsa-with-SHA224",
    "2.16.840.1.101.3.4.3.2": "dsa-with-SHA256",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.3.101.112": "ed25519",
    "1.3.101.113": "ed448",
    "2.16.840.1.101.3.4.3.17": "ml-dsa-44",
    "2.16.840.1.101.3.4.3.18": "ml-dsa-65",
    "2.16.840.1.101.3.4.3.19": "ml-dsa-87",
    "1.2.156.10197.1.501": "sm2-with-SM3",
}

_RSA = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10")
_EC = "1.2.840.10045.2.1"
_DSA = "1.2.840.10040.4.1"
_PLAIN = {
    "1.3.101.110": PublicKey(type="x25519", bits=256),
    "1.3.101.111": PublicKey(type="x448", bits=448),
    "1.3.101.112": PublicKey(type="ed25519", bits=256),
    "1.3.101.113": PublicKey(type="ed448", bits=456),
    "2.16.840.1.101.3.4.3.17": PublicKey(type="ml-dsa", bits=None, curve="ml-dsa-44"),
    "2.16.840.1.101.3.4.3.18": PublicKey(type="ml-dsa", bits=None, curve="ml-dsa-65"),
    "2.16.840.1.101.3.4.3.19": PublicKey(type="ml-dsa", bits=None, curve="ml-dsa-87"),
}


@lru_cache(maxsize=256)
def signature_name(raw: bytes) -> str:
    """Name of an AlgorithmIdentifier's algorithm; dotted where it has none here."""
    inner = children(expect(raw, 0x30, "a SEQUENCE"))
    if not inner or inner[0][0] != 0x06:
        raise Unreadable("no algorithm in it")
    oid = object_identifier(inner[0][1])
    return _SIGNATURES.get(oid, oid)


def read_public_key(raw: bytes) -> PublicKey:
    """SubjectPublicKeyInfo (RFC 5280, 4.1.2.7)."""
    parts = children(expect(raw, 0x30, "a SEQUENCE"))
    if len(parts) < 2 or parts[0][0] != 0x30 or parts[1][0] != 0x03:
        raise Unreadable("not algorithm and BIT STRING")
    algorithm = children(parts[0][1])
    if not algorithm or algorithm[0][0] != 0x06:
        raise Unreadable("no algorithm in it")
    oid = object_identifier(algorithm[0][1])
    # The first byte of a BIT STRING counts unused bits: none in a key.
    bits = parts[1][1][1:]
    if oid in _RSA:
        numbers = children(expect(bits, 0x30, "a SEQUENCE"))
        if len(numbers) < 2:
            raise Unreadable("RSA without modulus and exponent")
        modulus, exponent = (int.from_bytes(value, "big") for _, value in numbers[:2])
        return PublicKey(type="rsa", bits=modulus.bit_length(), exponent=exponent)
    if oid == _EC:
        return _elliptic(algorithm, bits)
    if oid == _DSA:
        prime = children(algorithm[1][1])[0][1] if len(algorithm) > 1 and algorithm[1][0] == 0x30 else b""
        return PublicKey(type="dsa", bits=int.from_bytes(prime, "big").bit_length() or None)
    return _PLAIN.get(oid, PublicKey(type="unknown", bits=None))


def _elliptic(algorithm: list[tuple[int, bytes]], point: bytes) -> PublicKey:
    if len(algorithm) > 1 and algorithm[1][0] == 0x06:
        oid = object_identifier(algorithm[1][1])
        curve, bits = _CURVES.get(oid, (oid, None))
        return PublicKey(type="ec", bits=bits, curve=curve)
    # Explicit parameters (forbidden by RFC 5480, 2.1.1): the size follows from the uncompressed point.
    size = (len(point) - 1) // 2 * 8 if point[:1] == b"\x04" else None
    return PublicKey(type="ec", bits=size, curve=None)
