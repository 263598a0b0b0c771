"""A certificate that must go, with every live place where it is the leaf."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from certwatch.inventory.store import MAX_PLACES, FindingQuery, Reader
from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.model.finding import Finding
from certwatch.model.location import standing_of
from certwatch.model.sighting import Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    certificate: Certificate
    #: Where clients see it.
    served: tuple[Served, ...]
    #: Where it lies to be served.
    stored: tuple[Served, ...]
    #: Why it must go. Empty: somebody said so.
    findings: tuple[Finding, ...] = ()

    @property
    def title(self) -> str:
        names = self.certificate.names
        return str(names[0]).partition(":")[2] if names else self.certificate.subject

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(sorted({each.rule for each in self.findings}))


def affected_by_findings(reader: Reader, rules: Iterable[str], now: datetime) -> Iterator[Affected]:
    """Certificates with an open, not silenced finding of one of `rules`, gravest first."""
    found: dict[Fingerprint, list[Finding]] = {}
    for rule in sorted(set(rules)):
        for finding in reader.findings(FindingQuery(rule=rule, silenced=False)):
            if finding.fingerprint is not None:
                found.setdefault(finding.fingerprint, []).append(finding)
    for fingerprint, findings in found.items():
        affected = affected_one(reader, fingerprint, now, findings)
        if affected is not None:
            yield affected


def affected_one(
    reader: Reader, fingerprint: Fingerprint, now: datetime, findings: Sequence[Finding] = ()
) -> Affected | None:
    """None: it is the leaf nowhere any more, or of a CA, which nobody renews by deploying."""
    for entry in reader.certificate(fingerprint.hex(), now):
        if entry.certificate.is_ca:
            return None
        served, stored = [], []
        for place in entry.places[:MAX_PLACES]:
            if place.ended_at is not None or place.position != 0:
                continue
            known = reader.served(place.location)
            if (
                known is None
                or known.retired_at is not None
                or known.leaf is None
                or known.leaf.fingerprint_sha256 != fingerprint
            ):
                continue
            standing = standing_of(place.location)
            if standing == "served":
                served.append(known)
            elif standing == "stored":
                stored.append(known)
        if not served and not stored:
            return None
        return Affected(
            certificate=entry.certificate,
            served=tuple(sorted(served, key=lambda each: each.location.uri)),
            stored=tuple(sorted(stored, key=lambda each: each.location.uri)),
            findings=tuple(findings),
        )
    return None
