"""Signed checkpoints of the ledger: C2SP signed-note and tlog-checkpoint, with an Ed25519 key of its own.

Its own key: whoever can use the CA's key cannot make up a history, and a witness needs no certificate."""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certwatch.ca.failure import CAError

_ED25519 = b"\x01"
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


def key_id(origin: str, public: Ed25519PublicKey) -> bytes:
    return sha256(origin.encode() + b"\n" + _ED25519 + public.public_bytes_raw()).digest()[:4]


def verifier_key(origin: str, public: Ed25519PublicKey) -> str:
    """What a witness is given: NAME+ID+KEY of signed-note."""
    packed = base64.b64encode(_ED25519 + public.public_bytes_raw()).decode()
    return f"{origin}+{key_id(origin, public).hex()}+{packed}"


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"
    signature = key_id(checkpoint.origin, key.public_key()) + key.sign(text.encode())
    return f"{text}\n\N{EM DASH} {checkpoint.origin} {base64.b64encode(signature).decode()}\n"


def verify(note: str, origin: str, public: Ed25519PublicKey) -> Checkpoint:
    """Raises CAError "ledger"."""
    text, blank, signatures = note.partition("\n\n")
    text += "\n"
    lines = text.split("\n")
    if len(note) > MAX_BYTES or not blank or len(lines) < 4 or lines[0] != origin or not _is_number(lines[1]):
        raise CAError("ledger", f"a checkpoint is not one of {origin}")
    try:
        root = base64.b64decode(lines[2], validate=True)
        expected = key_id(origin, public)
        for line in signatures.splitlines():
            dash, _, rest = line.partition(" ")
            name, _, packed = rest.partition(" ")
            if dash != "\N{EM DASH}" or name != origin:
                continue
            signature = base64.b64decode(packed, validate=True)
            if signature[:4] == expected:
                public.verify(signature[4:], text.encode())
                return Checkpoint(origin=origin, size=int(lines[1]), root=root)
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise CAError("ledger", f"the checkpoint at {lines[1]} is not signed by the ledger's key") from error
    raise CAError("ledger", f"the checkpoint at {lines[1]} has no signature of the ledger's key")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text
