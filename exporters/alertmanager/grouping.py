"""Findings as alerts: one alert for one matter, however many locations it concerns. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Finding, FindingID, Severity
from certwatch.model.location import LocationURI

#: Locations named in one alert; the others are counted.
MAX_LOCATIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What makes two findings the same matter."""

    rule: str
    #: Findings of locations without a certificate are matters of their own.
    about: Fingerprint | LocationURI
    severity: Severity
    owner: str
    environment: str


class Groups:
    """The open findings, by matter. Owned by the event loop."""

    def __init__(self) -> None:
        self._groups: dict[Key, dict[FindingID, Finding]] = {}
        self._keys: dict[FindingID, Key] = {}

    def put(self, finding: Finding, environment: str) -> set[Key]:
        """Take an open finding, or its new state: the matters that changed."""
        key = Key(
            rule=finding.rule,
            about=finding.fingerprint if finding.fingerprint is not None else finding.location,
            severity=finding.severity,
            owner=finding.owner,
            environment=environment,
        )
        changed = {key}
        if self._keys.get(finding.id, key) != key:
            changed |= self.remove(finding.id)
        self._keys[finding.id] = key
        self._groups.setdefault(key, {})[finding.id] = finding
        return changed

    def remove(self, finding: FindingID) -> set[Key]:
        key = self._keys.pop(finding, None)
        if key is None:
            return set()
        del self._groups[key][finding]
        if not self._groups[key]:
            del self._groups[key]
        return {key}

    def key_of(self, finding: FindingID) -> Key | None:
        return self._keys.get(finding)

    def firing(self) -> Iterable[Key]:
        return self._groups.keys()

    def findings(self, key: Key) -> list[Finding]:
        """Oldest first. Empty: nothing of it is open any more."""
        return sorted(self._groups.get(key, {}).values(), key=lambda each: (each.opened_at, each.id))


def labels(key: Key, extra: Mapping[str, str]) -> dict[str, str]:
    """An alert's identity for Alertmanager: must be the same from its first to its last sending."""
    told = {
        "alertname": "Certwatch" + "".join(part.capitalize() for part in key.rule.split("-")),
        "severity": key.severity,
        "team": key.owner or "unowned",
        "environment": key.environment,
        "rule": key.rule,
    }
    if isinstance(key.about, bytes):
        told["fingerprint"] = key.about.hex()[:16]
    else:
        told["location"] = key.about
    return {name: value for name, value in {**extra, **told}.items() if value}


def alert(
    key: Key, findings: list[Finding], *, ends_at: datetime, extra: Mapping[str, str], external_url: str
) -> dict[str, Any]:
    """As POST /api/v2/alerts takes it. `findings`: at least one, oldest first."""
    first = findings[0]
    places = [each.location for each in findings]
    more = f"\n… and {len(places) - MAX_LOCATIONS} more" if len(places) > MAX_LOCATIONS else ""
    return {
        "labels": labels(key, extra),
        "annotations": {
            "summary": first.summary + (f" ({len(places)} locations)" if len(places) > 1 else ""),
            "description": first.text,
            "locations": "\n".join(places[:MAX_LOCATIONS]) + more,
            "location_count": str(len(places)),
            "runbook_url": f"{external_url}/{first.runbook}" if external_url else first.runbook,
        },
        "startsAt": first.opened_at.isoformat(),
        "endsAt": ends_at.isoformat(),
        "generatorURL": f"{external_url}/" if external_url else "",
    }
