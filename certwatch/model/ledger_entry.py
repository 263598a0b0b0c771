"""One entry of the embedded CA's ledger, as it is told to others."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    #: Which ledger, as its checkpoints call it.
    origin: str
    position: int
    #: "request", "certificate", "revocation", …
    kind: str
    at: datetime
    #: JSON, as it is hashed.
    data: bytes
