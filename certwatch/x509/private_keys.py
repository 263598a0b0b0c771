"""Does this private key belong to that certificate? Looked at in memory and dropped: never kept, logged or shown."""

import hashlib
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

Match = Literal["match", "mismatch", "encrypted", "unknown"]


def match(key: bytes, spki_sha256: bytes | None, *, password: bytes | None = None) -> Match:
    """`key`: PEM or DER of PKCS#8, PKCS#1 or SEC 1. encrypted: it needs a password that was not given, or another.
    unknown: it cannot be read, or the certificate's key cannot."""
    if spki_sha256 is None:
        return "unknown"
    try:
        load = load_pem_private_key if key.lstrip().startswith(b"-----") else load_der_private_key
        private = load(key, password, unsafe_skip_rsa_key_validation=True)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError:
        # cryptography's word for: there is a password where none is needed, or none where one is.
        return "encrypted" if password is None else match(key, spki_sha256)
    except (ValueError, UnsupportedAlgorithm):
        return "encrypted" if password is not None else "unknown"
    return "match" if hashlib.sha256(public).digest() == spki_sha256 else "mismatch"
