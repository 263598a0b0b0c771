"""Findings as alerts: one alert for one matter, however many locations it concerns. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Finding, FindingID, Severity
from certwatch.model.location import LocationURI

#: Locations named in one alert; the others are counted.
MAX_LOCATIONS = 20
#: Characters of one label or location, and of one text: what a certificate says must not make a request too large.
MAX_VALUE = 500
MAX_TEXT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What makes two findings the same matter."""

    rule: str
    #: Findings of locations without a certificate are matters of their own.
    about: Fingerprint | LocationURI
    severity: Severity
    owner: str
    #: Labels of the locations by which alerts are told apart (`group_labels`), with their values; those that are not set
    #: are absent.
    group: tuple[tuple[str, str], ...]
    #: Who is told instead of the owner. Empty: nobody.
    route: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the config adds to every alert."""

    labels: Mapping[str, str]
    #: Without slash at the end. Empty: unknown.
    external_url: str
    #: Who is paged for a team, where that is not the team itself.
    pages: Mapping[str, str] = field(default_factory=dict)


class Matter:
    """The open findings of one key, and the alert that tells of them, kept until they change."""

    __slots__ = ("_findings", "_rendered", "_stale", "key", "known", "starts_at")

    def __init__(self, key: Key, known: Mapping[str, str], starts_at: datetime) -> None:
        self.key = key
        #: Labels beside the key's: what people call the certificate, which CA stands behind it, who watches the place.
        #: They stay what they were when the matter began.
        self.known = known
        #: When the first of its findings was opened.
        self.starts_at = starts_at
        # In the order in which they came.
        self._findings: dict[FindingID, Finding] = {}
        self._rendered = b""
        self._stale = True

    def put(self, finding: Finding) -> None:
        self._findings[finding.id] = finding
        self.starts_at = min(self.starts_at, finding.opened_at)
        self._stale = True

    def remove(self, finding: FindingID) -> bool:
        """True: it was the last one. The alert then stays as it was told last."""
        if len(self._findings) > 1:
            del self._findings[finding]
            self._stale = True
            return False
        self._stale = not self._rendered
        return True

    def __getitem__(self, finding: FindingID) -> Finding:
        return self._findings[finding]

    def alert(self, ends_at: datetime, context: Context) -> bytes:
        """As POST /api/v2/alerts takes it, JSON."""
        if self._stale:
            first = next(iter(self._findings.values()))
            places = [each.location for each in islice(self._findings.values(), MAX_LOCATIONS)]
            told = _alert(self, first, places, len(self._findings), context)
            self._rendered = msgspec.json.encode(told)[:-1]
            self._stale = False
        # Alertmanager refuses an alert that ends before it starts; a clock that was set back would make one.
        starts_at = min(self.starts_at, ends_at)
        times = f',"startsAt":"{starts_at.isoformat()}","endsAt":"{ends_at.isoformat()}"}}'
        return self._rendered + times.encode()


class Groups:
    """The open findings by matter, and what was resolved a while ago. Owned by the event loop."""

    def __init__(self) -> None:
        self._firing: dict[Key, Matter] = {}
        self._resolved: dict[Key, tuple[datetime, Matter]] = {}
        self._keys: dict[FindingID, Key] = {}
        self._at: dict[LocationURI, tuple[FindingID, ...]] = {}

    def put(
        self,
        finding: Finding,
        *,
        group: tuple[tuple[str, str], ...],
        known: Mapping[str, str],
        now: datetime,
        route: str = "",
    ) -> set[Key]:
        """Take an open finding, or its new state: the matters that changed. `known`: labels beside the key's."""
        key = Key(
            rule=finding.rule,
            about=finding.fingerprint if finding.fingerprint is not None else finding.location,
            severity=finding.severity,
            owner=finding.owner,
            group=group,
            route=route,
        )
        changed = {key}
        if self._keys.get(finding.id, key) != key:
            changed |= self.remove(finding.id, now)
        if finding.id not in self._keys:
            self._at[finding.location] = (*self._at.get(finding.location, ()), finding.id)
        self._keys[finding.id] = key
        self._resolved.pop(key, None)
        matter = self._firing.get(key)
        if matter is None:
            matter = self._firing[key] = Matter(key, known, finding.opened_at)
        matter.put(finding)
        return changed

    def remove(self, finding: FindingID, now: datetime) -> set[Key]:
        """It holds no longer: the matters that changed. Unknown: none."""
        key = self._keys.pop(finding, None)
        if key is None:
            return set()
        matter = self._firing[key]
        location = matter[finding].location
        left = tuple(each for each in self._at[location] if each != finding)
        if left:
            self._at[location] = left
        else:
            del self._at[location]
        if matter.remove(finding):
            del self._firing[key]
            self._resolved[key] = now, matter
        return {key}

    def move(
        self,
        location: LocationURI,
        group: tuple[tuple[str, str], ...],
        route_of: Callable[[Finding], str],
        now: datetime,
    ) -> set[Key]:
        """The location is now said to belong to that group, and what is wrong there to go that way: the matters that changed."""
        changed: set[Key] = set()
        for id in self._at.get(location, ()):
            key = self._keys[id]
            matter = self._firing[key]
            route = route_of(matter[id])
            if (key.group, key.route) != (group, route):
                changed |= self.put(matter[id], group=group, known=matter.known, now=now, route=route)
        return changed

    def inherit(self, before: "Groups", now: datetime) -> None:
        """What fired before and does not now was resolved meanwhile, unheard; what was resolved stays told."""
        for key, told in before._resolved.items():
            if key not in self._firing:
                self._resolved[key] = told
        for key, matter in before._firing.items():
            if key not in self._firing:
                self._resolved[key] = now, matter

    def forget_resolved(self, before: datetime) -> None:
        for key in [key for key, (at, _) in self._resolved.items() if at < before]:
            del self._resolved[key]

    def keys(self) -> Iterator[Key]:
        """What fires, then what was resolved."""
        yield from self._firing
        yield from self._resolved

    def alert(self, key: Key, now: datetime, alive: timedelta, context: Context) -> bytes | None:
        """What is to be told of a matter now; while it fires, it ends `alive` from now. None: nothing, it is
        forgotten."""
        matter = self._firing.get(key)
        if matter is not None:
            return matter.alert(now + alive, context)
        if key in self._resolved:
            at, matter = self._resolved[key]
            # Resolved, and in the future by a clock that was set back, is still firing.
            return matter.alert(min(at, now), context)
        return None


def short(text: str, limit: int) -> str:
    """Longer ones are cut, and told apart by a hash at their end. A lone surrogate, which no JSON holds, must not keep
    all the other alerts from being sent."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= limit:
        return text
    return f"{text[:limit]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def labels(key: Key, known: Mapping[str, str], context: Context) -> dict[str, str]:
    """An alert's identity for Alertmanager: must be the same from its first to its last sending."""
    told = {
        "alertname": "Certwatch" + "".join(part.capitalize() for part in key.rule.split("-")),
        "severity": key.severity,
        "team": key.owner or "unowned",
        "rule": key.rule,
    }
    if key.severity == "page":
        told["page"] = context.pages.get(key.owner, "")
    told["route"] = key.route
    if isinstance(key.about, bytes):
        told["fingerprint"] = key.about.hex()[:16]
    else:
        told["location"] = key.about
    told |= {**dict(key.group), **known}
    return {**context.labels, **{label: short(value, MAX_VALUE) for label, value in told.items() if value}}


def _alert(
    matter: Matter, first: Finding, places: Iterable[LocationURI], count: int, context: Context
) -> dict[str, object]:
    """All but its times. `places`: those that are named."""
    url = context.external_url
    more = f"\n… and {count - MAX_LOCATIONS} more" if count > MAX_LOCATIONS else ""
    return {
        "labels": labels(matter.key, matter.known, context),
        "annotations": {
            "summary": short(first.summary, MAX_VALUE) + (f" ({count} locations)" if count > 1 else ""),
            "description": short(first.text, MAX_TEXT),
            "locations": "\n".join(short(place, MAX_VALUE) for place in places) + more,
            "location_count": str(count),
            "runbook_url": f"{url}/{first.runbook}" if url else first.runbook,
        },
        "generatorURL": f"{url}/" if url else "",
    }
