"""Incidents as people and programs read them: how far the replacement is, and how long it took (M10)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from certwatch.cli.instants import iso, minute
from certwatch.cli.progress import progress_bar
from certwatch.cli.table import write_table

if TYPE_CHECKING:
    from certwatch.remediation.book import Book
    from certwatch.remediation.records import Incident

#: Between two looks at an incident that the daemon works on.
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An incident, and how many of its certificates are in which state."""

    incident: "Incident"
    states: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def replaced(self) -> int:
        return self.states.get("verified", 0)

    @property
    def is_over(self) -> bool:
        return self.incident.ended is not None

    @property
    def is_stuck(self) -> bool:
        """Nothing is under way any more, and not everything was replaced."""
        from certwatch.remediation.records import ACTIVE

        return not self.is_over and not any(self.states.get(each) for each in ACTIVE)

    def recovery(self, now: datetime) -> timedelta:
        return (self.incident.ended or now) - self.incident.at


def standings(book: "Book") -> list[Standing]:
    """The newest first."""
    counts = book.incident_states()
    return [
        Standing(incident=each, states=counts.get(each.id, {}))
        for each in sorted(book.incidents(), key=lambda each: -each.id)
    ]


def as_json(standing: Standing) -> dict[str, Any]:
    incident = standing.incident
    return {
        "id": incident.id,
        "about": incident.about,
        "drill": incident.drill,
        "at": iso(incident.at),
        "ended": iso(incident.ended),
        "recovery_seconds": (incident.ended - incident.at).total_seconds() if incident.ended else None,
        "by": incident.by,
        "why": incident.why,
        "plans": dict(standing.states),
    }


def write_incidents(found: Sequence[Standing], now: datetime) -> None:
    rows = (
        (
            f"{each.incident.id}" + (" (drill)" if each.incident.drill else ""),
            each.incident.about,
            minute(each.incident.at),
            f"{each.replaced} of {each.total}",
            took(each.recovery(now)) if each.is_over else f"{took(each.recovery(now))} so far",
            each.incident.by,
            each.incident.why,
        )
        for each in found
    )
    write_table(
        ("incident", "about", "since", "replaced", "recovery (M10)", "by", "why"), rows, spare=("why", "by")
    )


def took(span: timedelta) -> str:
    """As a stopwatch says it: "3.2 s", "4 min 12 s", "2 h 05 min"."""
    seconds = span.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02} min"


def wait_for(book: "Book", incident: int) -> Standing:
    """Until it is over, or nothing goes on any more."""
    with progress_bar() as bar:
        told = bar(f"incident {incident}")
        while True:
            found = next(each for each in standings(book) if each.incident.id == incident)
            told(found.replaced, found.total)
            if found.is_over or found.is_stuck:
                return found
            time.sleep(POLL_SECONDS)


def verdict(found: Standing, now: datetime) -> str:
    drill = " (drill)" if found.incident.drill else ""
    if found.is_over:
        what = f"{found.replaced} certificates replaced everywhere" if found.total else "nothing to replace"
        return f"incident {found.incident.id}{drill}: {what}, M10 {took(found.recovery(now))}"
    left = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items()))
    return f"incident {found.incident.id}{drill}: not over: {left}. See certwatch remediate status"
