"""Does this private key belong to that certificate? Looked at in memory and dropped: never kept, logged or shown."""

import hashlib
from typing import Literal

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from certwatch.x509 import pem

Match = Literal["match", "mismatch", "encrypted", "unknown"]

#: Of DSA and DH the library computes the public half, which takes the cube of a size that the file chooses: 15 KB are
#: 12 seconds. DSA of the largest size that there is (FIPS 186-4, 4.2) has 900 bytes; no certificate is for DH.
_MAX_DSA_BYTES = 2000
_DSA = bytes.fromhex("06072a8648ce380401")
_DH = (bytes.fromhex("06092a864886f70d010301"), bytes.fromhex("06072a8648ce3e0201"))
#: PKCS#8 has its algorithm in front.
_HEAD = 64


def match(key: bytes, spki_sha256: bytes | None, *, password: bytes | None = None) -> Match:
    """`key`: PEM or DER of PKCS#8, PKCS#1 or SEC 1. encrypted: it needs a password that was not given, or another.
    unknown: it cannot be read, or the certificate's key cannot."""
    if spki_sha256 is None or _costs_too_much(key):
        return "unknown"
    try:
        load = load_pem_private_key if key.lstrip().startswith(b"-----") else load_der_private_key
        private = load(key, password, unsafe_skip_rsa_key_validation=True)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError:
        # cryptography's word for: there is a password where none is needed, or none where one is.
        return "encrypted" if password is None else match(key, spki_sha256)
    except (ValueError, UnsupportedAlgorithm, InternalError):
        return "encrypted" if password is not None else "unknown"
    return "match" if hashlib.sha256(public).digest() == spki_sha256 else "mismatch"


def _costs_too_much(key: bytes) -> bool:
    """The traditional forms carry the public half, PKCS#8 does not."""
    inside = key
    if key.lstrip().startswith(b"-----"):
        inside = next((block.data for block in pem.blocks(key)), b"")
    head = inside[:_HEAD]
    return any(oid in head for oid in _DH) or (_DSA in head and len(inside) > _MAX_DSA_BYTES)
