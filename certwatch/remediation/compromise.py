"""A key, a certificate or a CA that must not be trusted any more: everything that it affects, and how long it took (M10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certwatch.inventory.store import Query, Reader
from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.pki.signatures import signature
from certwatch.remediation.affected import Affected, affected_one
from certwatch.remediation.book import Book
from certwatch.remediation.plan import Draft, Unplannable, urgency
from certwatch.remediation.policy import Policy
from certwatch.remediation.propose import propose_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    about: Certificate
    affected: tuple[Affected, ...]


def scope_of(
    reader: Reader, about: Certificate, now: datetime, *, label: tuple[str, str] | None = None
) -> Scope:
    """Every live leaf with its key; of a CA also everything that it issued. `label`: only at places with it (a drill)."""
    found: dict[Fingerprint, Affected] = {}
    query = Query(issuer=None) if not about.is_ca else Query()
    for entry in reader.list(query, now):
        certificate = entry.certificate
        if certificate.is_ca:
            continue
        same_key = certificate.spki_sha256 is not None and certificate.spki_sha256 == about.spki_sha256
        below = (
            about.is_ca
            and certificate.issuer_der == about.subject_der
            and signature(certificate, about) == "good"
        )
        if not (same_key or below):
            continue
        affected = affected_one(reader, certificate.fingerprint_sha256, now)
        if affected is not None and (label is None or _has(affected, label)):
            found[certificate.fingerprint_sha256] = affected
    return Scope(about=about, affected=tuple(sorted(found.values(), key=urgency)))


def _has(affected: Affected, label: tuple[str, str]) -> bool:
    places = (*affected.served, *affected.stored)
    return bool(places) and all(each.location.labels.get(label[0]) == label[1] for each in places)


def open_incident(
    book: Book,
    scope: Scope,
    policies: Sequence[Policy],
    now: datetime,
    *,
    by: str,
    why: str,
    drill: bool,
) -> tuple[int, list[int], list[Unplannable]]:
    """The incident's number, its plans, and what cannot be planned. A certificate that is being renewed already keeps its
    plan."""
    incident = book.open_incident(scope.about.shown, by, why, now, drill=drill)
    plans: list[int] = []
    left: list[Unplannable] = []
    for affected in scope.affected:
        one = propose_one(affected, policies, drill=drill, for_findings=False)
        if isinstance(one, Draft):
            plan = book.add(one, now, by=by, incident=incident)
            if plan is not None:
                plans.append(plan.id)
        else:
            left.append(
                one
                or Unplannable(
                    former=affected.certificate.fingerprint_sha256,
                    title=affected.title,
                    cause=affected.causes,
                    why="no policy fits it",
                )
            )
    if not plans and not left:
        book.close_empty(incident, now)
    return incident, plans, left
