"""The answers that only the API gives; all else stands in certwatch/inventory/shapes.py."""

from datetime import datetime
from typing import Annotated, TypedDict

from certwatch.engine.engine import CollectorState
from certwatch.inventory.shapes import (
    EntryJSON,
    FindingJSON,
    Instant,
    RuleListed,
    ScanJSON,
    Told,
    scan_json,
)
from certwatch.inventory.store import Counts
from certwatch.model.instants import iso
from certwatch.web.pages.overview import collector_rows
from certwatch.web.site import Site
from certwatch.web.status import Status


class CertificatesAnswer(TypedDict):
    """A page of certificates."""

    certificates: list[EntryJSON]
    next: Annotated[str | None, Told("the cursor of the next page; null: this is the last")]


class FindingsAnswer(TypedDict):
    """A page of findings, gravest first."""

    findings: list[FindingJSON]
    next: Annotated[int | None, Told("the cursor of the next page; null: this is the last")]


class RulesAnswer(TypedDict):
    """What is checked."""

    rules: list[RuleListed]


class CollectorAnswer(TypedDict):
    """A collector, configured or one that has scanned before."""

    name: str
    kind: Annotated[str | None, Told("null: it is not configured")]
    every_seconds: float | None
    running: bool
    next_run_at: Instant | None
    broken: Annotated[str | None, Told("why it could not be made; null: it could")]
    last_scan: Annotated[ScanJSON | None, Told("the last that ended")]


class CollectorsAnswer(TypedDict):
    """Collectors with their last scans."""

    collectors: list[CollectorAnswer]


class OwnerAnswer(TypedDict):
    """Open findings of one owner."""

    owner: Annotated[str, Told("empty: nobody")]
    open_findings: dict[str, int]


class StatusAnswer(TypedDict):
    """How certwatch is, and what it knows."""

    version: str
    ready: bool
    not_ready: Annotated[list[str], Told("why it is not ready")]
    stands_by: Annotated[bool, Told("another daemon works on the same inventory, and this one answers alone")]
    broken_plugins: list[str]
    read_at: Instant | None
    certificates: int
    locations: int
    failing_locations: int
    open_findings: Annotated[dict[str, int], Told("by severity")]
    owners: list[OwnerAnswer]
    scans: Annotated[list[ScanJSON], Told("the last of each collector")]


class ProblemAnswer(TypedDict):
    """RFC 9457."""

    title: str
    status: int
    detail: str


def status_answer(site: Site, status: Status) -> StatusAnswer:
    counts: Counts = status.counts
    reasons = list(site.not_ready())
    return {
        "version": site.version,
        "ready": not reasons,
        "not_ready": reasons,
        "stands_by": site.stands_by,
        "broken_plugins": list(site.broken()),
        "read_at": iso(status.read_at),
        "certificates": counts.certificates,
        "locations": counts.locations,
        "failing_locations": counts.failing,
        "open_findings": {str(key): count for key, count in counts.open_findings.items()},
        "owners": [
            {
                "owner": each.owner,
                "open_findings": {str(key): count for key, count in each.open_findings.items()},
            }
            for each in status.owners
        ],
        "scans": [scan_json(scan) for scan in status.scans],
    }


def collectors_answer(site: Site, status: Status) -> CollectorsAnswer:
    states: dict[str, CollectorState] = {each.name: each for each in site.collectors()}
    answers: list[CollectorAnswer] = []
    for row in collector_rows(list(states.values()), status.scans):
        state = states.get(row.name)
        next_run: datetime | None = row.next_run
        answers.append(
            {
                "name": row.name,
                "kind": row.kind or None,
                "every_seconds": state.every.total_seconds() if state is not None else None,
                "running": row.running,
                "next_run_at": iso(next_run),
                "broken": state.broken or None if state is not None else None,
                "last_scan": scan_json(row.scan) if row.scan is not None else None,
            }
        )
    return {"collectors": answers}
