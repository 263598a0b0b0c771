"""Tree heads, in both forms that logs sign: STH (RFC 6962, 3.5 and 4.3) and checkpoint (C2SP static-ct-api)."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certwatch.ct.malformed import Malformed
from certwatch.ct.notes import RFC6962, key_id, parse_checkpoint, parse_note

#: DigitallySigned (RFC 5246, 4.7): SHA-256, and these two.
_SHA256, _RSA, _ECDSA = 4, 1, 3
MAX_SIGNATURE = 2048
#: Milliseconds; far beyond, nothing that reads them goes wrong.
MAX_TIMESTAMP = 253402300799000


class BadSignature(Exception):
    """What a log says is not signed by its key."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A log's public key: ECDSA or RSA (RFC 6962, 2.1.4)."""

    #: SubjectPublicKeyInfo.
    der: bytes
    _key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey

    @classmethod
    def read(cls, der: bytes) -> "LogKey":
        """Raises Malformed."""
        try:
            key = load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm, TypeError) as error:
            raise Malformed("a log's key that is no public key") from error
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise Malformed("a log's key that is neither ECDSA nor RSA")
        return cls(der, key)

    @property
    def log_id(self) -> bytes:
        return sha256(self.der).digest()

    def verify(self, signed: bytes, message: bytes) -> None:
        """`signed`: DigitallySigned. Raises BadSignature."""
        if len(signed) < 4 or int.from_bytes(signed[2:4], "big") != len(signed) - 4:
            raise BadSignature("a signature that is cut off")
        wanted = _ECDSA if isinstance(self._key, ec.EllipticCurvePublicKey) else _RSA
        if signed[0] != _SHA256 or signed[1] != wanted:
            raise BadSignature(f"a signature of another kind ({signed[0]}, {signed[1]}) than the log's key")
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signed[4:], message, ec.ECDSA(hashes.SHA256()))
            else:
                self._key.verify(signed[4:], message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise BadSignature("not signed by the log's key") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """A tree head with its log's signature."""

    size: int
    root: bytes
    #: Milliseconds since 1970.
    timestamp: int
    #: DigitallySigned over `signed_bytes`.
    signature: bytes
    #: The checkpoint as it was served, with what witnesses signed beside. Empty: it was an STH.
    note: str = ""

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp / 1000, UTC)

    @property
    def signed_bytes(self) -> bytes:
        """TreeHeadSignature (RFC 6962, 3.5)."""
        return b"\0\1" + self.timestamp.to_bytes(8, "big") + self.size.to_bytes(8, "big") + self.root

    def verify(self, key: LogKey) -> None:
        """Raises BadSignature."""
        try:
            key.verify(self.signature, self.signed_bytes)
        except BadSignature as error:
            raise BadSignature(f"the head of {self.size} entries: {error}") from error

    def to_json(self) -> dict[str, str | int]:
        """As `get-sth` has it; with the checkpoint, if it was one."""
        said: dict[str, str | int] = {
            "tree_size": self.size,
            "timestamp": self.timestamp,
            "sha256_root_hash": _packed(self.root),
            "tree_head_signature": _packed(self.signature),
        }
        return said | ({"checkpoint": self.note} if self.note else {})


class _STH(msgspec.Struct):
    tree_size: int
    timestamp: int
    sha256_root_hash: bytes
    tree_head_signature: bytes
    checkpoint: str = ""


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse_sth(data: bytes | str) -> SignedHead:
    """The answer to `get-sth`, and what `to_json` made. Raises Malformed."""
    try:
        said = msgspec.json.decode(data, type=_STH)
    except (msgspec.MsgspecError, UnicodeError, binascii.Error, RecursionError) as error:
        raise Malformed(f"no signed tree head: {str(error)[:100]}") from error
    return _head(
        said.tree_size, said.sha256_root_hash, said.timestamp, said.tree_head_signature, said.checkpoint
    )


def parse_log_checkpoint(data: bytes, origin: str, log_id: bytes) -> SignedHead:
    """The log's own signature is taken; unknown ones beside it are kept in the note and not looked at. `origin`: submission
    prefix without scheme and trailing slash; it is not signed, so that it must be held against what is known. Raises
    Malformed, BadSignature: none is by this log's key."""
    note = parse_note(data)
    checkpoint = parse_checkpoint(note)
    if checkpoint.origin != origin:
        raise Malformed(f"a checkpoint of {_shown(checkpoint.origin)} instead of {origin}")
    if checkpoint.extensions:
        raise Malformed("a log's checkpoint with lines that its signature does not cover")
    expected = key_id(origin, RFC6962, log_id)
    found = [each for each in note.signatures if each.name == origin and each.key_id == expected]
    if not found:
        raise BadSignature(f"the checkpoint of {checkpoint.size} entries has no signature of the log's key")
    body = found[0].body
    if len(body) < 8:
        raise Malformed("a checkpoint whose signature is cut off")
    return _head(checkpoint.size, checkpoint.root, int.from_bytes(body[:8], "big"), body[8:], data.decode())


def _head(size: int, root: bytes, timestamp: int, signature: bytes, note: str) -> SignedHead:
    if not 0 <= size < 1 << 63 or not 0 <= timestamp <= MAX_TIMESTAMP:
        raise Malformed(f"a head of {size} entries at {timestamp}")
    if len(root) != 32 or len(signature) > MAX_SIGNATURE:
        raise Malformed(f"a head with a root of {len(root)} bytes and a signature of {len(signature)}")
    return SignedHead(size=size, root=root, timestamp=timestamp, signature=signature, note=note)


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else "." for each in text[:100])
