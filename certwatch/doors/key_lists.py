"""Lists of known keys, read from their files."""

import hashlib
import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path

from certwatch.doors.trust_files import TrustError
from certwatch.pki.known_keys import RECORD, Blocklist, KnownKeys

#: badkeys' list is some tens of megabytes; it is mapped, not read.
MAX_BYTES = 1 << 30
MAX_LINES_BYTES = 64 << 20
#: What badkeys keeps beside it: the lists' names.
METADATA = "badkeysdata.json"


class KeyListError(TrustError):
    """A list cannot be had. The message says which, why, and what to do. Judging stands on it as on trust stores."""


def load_known_keys(paths: Iterable[str]) -> KnownKeys:
    """Each is badkeys' `blocklist.dat`, or a text with a SHA-256 of a public key (SubjectPublicKeyInfo, hex) a line. Blocking.
    Raises KeyListError."""
    blocklists: list[Blocklist] = []
    spki: dict[bytes, str] = {}
    digest = hashlib.sha256()
    for name in paths:
        path = Path(name)
        try:
            size = path.stat().st_size
            digest.update(f"{name}\0{size}\0{path.stat().st_mtime_ns}\0".encode())
            if path.suffix == ".dat":
                blocklists.append(_blocklist(path, size))
            else:
                spki |= dict.fromkeys(_lines(path, size), path.name)
        except OSError as error:
            raise KeyListError(
                f"known_keys: {path} cannot be read: {error.strerror}. Name badkeys' blocklist.dat (badkeys --update-bl), or"
                " a file of SHA-256 sums of public keys"
            ) from error
    known = bool(blocklists or spki)
    return KnownKeys(blocklists=tuple(blocklists), spki=spki, digest=digest.hexdigest() if known else "")


def _blocklist(path: Path, size: int) -> Blocklist:
    if not size or size % RECORD or size > MAX_BYTES:
        raise KeyListError(
            f"known_keys: {path} has {size} bytes, and is no blocklist of badkeys. Fetch it anew: badkeys --update-bl"
        )
    with path.open("rb") as file:
        # A new list comes as a new file (badkeys renames); this one stays as it is.
        records = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Blocklist(records=records, names=_names(path.with_name(METADATA)))


def _names(path: Path) -> Mapping[int, str]:
    """None known is no fault: a list's number is told then."""
    try:
        data = json.loads(path.read_bytes()[:MAX_LINES_BYTES])
        return {int(each["id"]): str(each["name"])[:80] for each in data["blocklists"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def _lines(path: Path, size: int) -> Iterable[bytes]:
    if size > MAX_LINES_BYTES:
        raise KeyListError(f"known_keys: {path} is larger than {MAX_LINES_BYTES >> 20} MiB: split it")
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        try:
            value = bytes.fromhex(text.split()[0].decode("ascii"))
        except ValueError:
            value = b""
        if len(value) != 32:
            raise KeyListError(
                f"known_keys: {path}:{number}: no SHA-256 in hex. A line is that of a public key (SubjectPublicKeyInfo):"
                " openssl pkey -pubin -in KEY -outform DER | sha256sum"
            )
        yield value
