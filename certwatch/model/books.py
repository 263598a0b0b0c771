"""What the books of our CAs say of a certificate that is met somewhere."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    #: Locations of the CA databases in which certificates of its issuer stand. Empty: no database that is read has any.
    databases: tuple[str, ...]
    #: True: it stands in one of these, or did.
    recorded: bool
    #: When the one that was read the longest ago was last read in full. None: one never was.
    read_at: datetime | None
