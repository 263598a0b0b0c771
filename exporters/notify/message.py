"""What is told: findings and certificates as they go into a message, and into the state on disk."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from certwatch.model.finding import SEVERITIES, Finding, Severity

#: Of each list, so many are shown; the rest is counted.
MAX_SHOWN = 100
#: Of a text of a finding: a name in a certificate may be a hundred kilobytes.
MAX_TEXT = 500


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A finding."""

    id: int
    rule: str
    severity: Severity
    #: Empty: nobody.
    owner: str
    location: str
    #: One line.
    summary: str
    #: Why it matters, what to do. Empty: not kept.
    text: str = ""
    #: URL, or a path if certwatch does not know its own.
    runbook: str
    opened_at: datetime


class Expiring(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that is served and ends soon."""

    name: str
    issuer: str
    not_after: datetime
    fingerprint_sha256: str
    owner: str
    #: One of the places where it is seen, and how many there are.
    location: str
    locations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    kind: Literal["digest", "pages"]
    #: Whose route it takes. Empty: everybody who has none.
    route: str
    sent_at: datetime
    #: Opened since the last message of this kind on this way; still open; no more.
    new: tuple[Item, ...] = ()
    open: tuple[Item, ...] = ()
    resolved: tuple[Item, ...] = ()
    expiring: tuple[Expiring, ...] = ()
    #: Of `expiring`, as the config writes it: "30d".
    within: str = ""
    #: Where people reach certwatch. Empty: not known.
    external_url: str = ""

    @property
    def id(self) -> str:
        """The same for the same content, whenever it is sent."""
        parts = [self.kind, unicode(self.route)]
        parts += [f"{name}{each.id}" for name in ("new", "open", "resolved") for each in getattr(self, name)]
        parts += [each.fingerprint_sha256 for each in self.expiring]
        if self.kind == "digest":
            parts.append(self.sent_at.date().isoformat())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def title(self) -> str:
        """One line, a subject."""
        whose = f" ({clean(self.route, 60)})" if self.route else ""
        counts = [
            f"{len(found)} {word}"
            for word, found in (("new", self.new), ("open", self.open), ("resolved", self.resolved))
            if found
        ]
        if self.expiring:
            counts.append(f"{len(self.expiring)} expiring within {self.within}")
        if self.kind == "pages" and len(self.new) == 1 and not self.open and not self.resolved:
            return f"certwatch{whose}: {clean(self.new[0].summary, 120)}"
        what = "pages: " if self.kind == "pages" else ""
        return f"certwatch{whose}: {what}{', '.join(counts)}"


def item(finding: Finding, external_url: str) -> Item:
    return Item(
        id=finding.id,
        rule=finding.rule,
        severity=finding.severity,
        owner=unicode(finding.owner),
        location=clean(finding.location, MAX_TEXT),
        summary=clean(finding.summary, MAX_TEXT),
        text=clean(finding.text, 2 * MAX_TEXT),
        runbook=f"{external_url}/{finding.runbook}" if external_url and finding.runbook else finding.runbook,
        opened_at=finding.opened_at,
    )


def unicode(text: str) -> str:
    """Without lone surrogates, which neither JSON nor mail can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def ordered(items: Iterable[Item]) -> tuple[Item, ...]:
    """By owner, gravest first, then oldest first."""
    return tuple(
        sorted(items, key=lambda each: (each.owner, SEVERITIES.index(each.severity), each.opened_at, each.id))
    )


def clean(text: str, most: int) -> str:
    """On one line, bounded, without what would turn a reader's eyes: controls, bidirectional marks, invisible
    characters. Names in certificates are their owner's to choose."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:most])
    return shown + "…" if len(text) > most else shown
