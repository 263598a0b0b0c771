"""What the overview and `/api/v1/status` show, read from the inventory in one go. Blocking."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from certwatch.inventory.store import Counts, Entry, FindingQuery, OwnerCount, Query, Reader
from certwatch.model.finding import Finding
from certwatch.model.observation import Scan

SHOWN_EXPIRIES = 12
#: Of those that expired of late: the rest is among the findings, and would hide what can still be helped.
SHOWN_EXPIRED = 4
#: What expired longer ago and harms anybody is among the findings; the rest (roots in a trust store) is noise.
EXPIRED_SHOWN = timedelta(days=7)
SHOWN_FINDINGS = 10
#: Entries looked at for those that are served, or lie somewhere to be; many that are not may stand before them.
SEARCHED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    read_at: datetime
    counts: Counts
    #: The last finished scan of each collector.
    scans: Sequence[Scan]
    #: Certificates that are served, or lie somewhere to be, the first to expire first; before them a few that expired within `EXPIRED_SHOWN`.
    expiries: Sequence[Entry]
    #: Open ones, gravest first.
    findings: Sequence[Finding]
    owners: Sequence[OwnerCount] = ()


def read_status(reader: Reader, now: datetime) -> Status:
    """Raises InventoryError."""
    upcoming = _in_use(reader, Query(expires_after=now, limit=SEARCHED), now, SHOWN_EXPIRIES)
    late = Query(expires_after=now - EXPIRED_SHOWN, expired_at=now, descending=True, limit=SEARCHED)
    expired = _in_use(reader, late, now, SHOWN_EXPIRED)
    return Status(
        read_at=now,
        counts=reader.counts(),
        scans=reader.last_scans(),
        expiries=[*reversed(expired), *upcoming],
        findings=list(reader.findings(FindingQuery(limit=SHOWN_FINDINGS))),
        owners=reader.count_by_owner(),
    )


def _in_use(reader: Reader, query: Query, now: datetime, most: int) -> list[Entry]:
    return list(
        islice((each for each in reader.list(query, now) if each.presence in ("served", "stored")), most)
    )
