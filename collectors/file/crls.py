"""Revocation lists in files: each is a place that has no certificates to show, but itself."""

from collections.abc import Sequence
from datetime import UTC, datetime

from certwatch.model.observation import Fact, LookError
from certwatch.x509 import crl
from certwatch.x509.containers import Format
from collectors.file.contents import Contents, failed, one_line

#: Lists of one file that become places.
MAX_CRLS = 1000
#: Text out of a list that becomes a fact.
_LONGEST = 1000


def contents(path: str, lists: Sequence[bytes], *, alone: bool, container: Format) -> list[Contents]:
    """`alone`: there is nothing else in the file. One list alone is the file's own place; else they are "crl/1",
    "crl/2", … in their order. Blocking: a quarter of a second for a million entries."""
    parts = []
    for number, data in enumerate(lists[:MAX_CRLS], 1):
        entry = "" if alone and len(lists) == 1 else f"crl/{number}"
        parts.append(_one(path, entry, data, container))
    if len(lists) > MAX_CRLS:
        parts.append(
            failed("malformed", f"{path}: more than {MAX_CRLS} revocation lists. Split it, or exclude it")
        )
    return parts


def _one(path: str, entry: str, data: bytes, container: Format) -> Contents:
    found = crl.read(data)
    facts = facts_of(found, len(data))
    if container != "crl":
        facts["container"] = container
    if not found.problems:
        return Contents(entry=entry, facts=facts)
    shown = "; ".join(found.problems[:3])
    message = f"{path}: revocation list: {shown}. Check what wrote it, or exclude it"
    return Contents(entry=entry, facts=facts, error=LookError(kind="malformed", message=one_line(message)))


def facts_of(found: crl.CRL, size: int) -> dict[str, Fact]:
    """`size`: its bytes in DER. What could not be read is left out."""
    said: dict[str, Fact] = {
        "crl_issuer": found.issuer[:_LONGEST] or None,
        "crl_number": None if found.number is None else str(found.number),
        "crl_kind": found.kind,
        "crl_this_update": _instant(found.this_update),
        "crl_next_update": _instant(found.next_update),
        "crl_entries": found.entry_count,
        "crl_bytes": size,
        "crl_signature_algorithm": found.signature_algorithm or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _instant(at: datetime | None) -> str | None:
    """RFC 3339, Z."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
