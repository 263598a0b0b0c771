"""Signed notes (C2SP signed-note, tlog-checkpoint): text and lines of signatures. Nothing is verified here."""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from certwatch.ct.malformed import Malformed

#: Types of signature, the byte behind the key's name in what its id is made of.
ED25519, COSIGNATURE, RFC6962 = 1, 4, 5
#: No checkpoint is longer; witnesses add 150 bytes each.
MAX_BYTES = 64 << 10
MAX_SIGNATURES = 100
_DASH = "\N{EM DASH} "


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    name: str
    #: First four bytes of SHA-256 over name, type and key.
    key_id: bytes
    #: As its type has it.
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    #: With the newline at its end: what is signed.
    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    #: Lines behind the root.
    extensions: tuple[str, ...]


def key_id(name: str, kind: int, key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes((kind,)) + key).digest()[:4]


def parse_note(data: bytes) -> Note:
    """Raises Malformed."""
    if len(data) > MAX_BYTES:
        raise Malformed(f"a note of {len(data)} bytes")
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note that is not UTF-8") from error
    if any(ord(each) < 0x20 and each != "\n" for each in note):
        raise Malformed("a note with control characters")
    # The last blank line parts them: the text may have others.
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Malformed("no signed note: a blank line and signatures must end it")
    signatures = tuple(_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise Malformed(f"a note with {len(signatures)} signatures")
    return Note(text=text + "\n", signatures=signatures)


def _signature(line: str) -> NoteSignature:
    name, blank, packed = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name or not blank or "+" in name:
        raise Malformed("a line of a note's signatures that is none")
    try:
        signature = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a note's signature that is not base64") from error
    if len(signature) < 5:
        raise Malformed("a note's signature that is too short")
    return NoteSignature(name=name, key_id=signature[:4], body=signature[4:])


def parse_checkpoint(note: Note) -> Checkpoint:
    """Raises Malformed."""
    origin, *rest = note.text[:-1].split("\n")
    if not origin or len(rest) < 2:
        raise Malformed("a checkpoint without origin, size and root")
    if not is_decimal(rest[0]):
        raise Malformed("a checkpoint whose size is not a number")
    try:
        root = base64.b64decode(rest[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a checkpoint whose root is not base64") from error
    if len(root) != 32:
        raise Malformed(f"a checkpoint with a root of {len(root)} bytes")
    return Checkpoint(origin=origin, size=int(rest[0]), root=root, extensions=tuple(rest[2:]))


def is_decimal(text: str) -> bool:
    """Without leading zeros, below 2**63."""
    return (
        text.isascii()
        and text.isdigit()
        and len(text) < 20
        and str(int(text)) == text
        and int(text) < 1 << 63
    )
