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
    """Every live leaf with its key; of a CA also everything below it, by whichever of its certificates. `label`: only at
    places with it (a drill)."""
    lost = _CAs(about)
    if about.is_ca:
        lost.grow([each.certificate for each in reader.list(Query(), now) if each.certificate.is_ca])
    found: dict[Fingerprint, Affected] = {}
    for entry in reader.list(Query(), now):
        certificate = entry.certificate
        if certificate.is_ca or not (_same_key(certificate, about) or lost.issued(certificate)):
            continue
        affected = affected_one(reader, certificate.fingerprint_sha256, now)
        if affected is not None and (label is None or all_have(affected, label)):
            found[certificate.fingerprint_sha256] = affected
    return Scope(about=about, affected=tuple(sorted(found.values(), key=criticality)))


class _CAs:
    """Whose signature says nothing any more: a CA, its other certificates (cross-signed, renewed), and those below."""

    def __init__(self, about: Certificate) -> None:
        self._by_subject: dict[bytes | None, list[Certificate]] = {}
        self._keys: set[bytes | None] = set()
        if about.is_ca:
            self._add(about)

    def _add(self, ca: Certificate) -> None:
        self._by_subject.setdefault(ca.subject_der, []).append(ca)
        if ca.spki_sha256 is not None:
            self._keys.add(ca.spki_sha256)

    def grow(self, cas: Sequence[Certificate]) -> None:
        left = list(cas)
        while True:
            rest = []
            for each in left:
                if each.spki_sha256 in self._keys or self.issued(each):
                    self._add(each)
                else:
                    rest.append(each)
            if len(rest) == len(left):
                return
            left = rest

    def issued(self, certificate: Certificate) -> bool:
        above = self._by_subject.get(certificate.issuer_der, ())
        return any(signature(certificate, each) == "good" for each in above)


def _same_key(one: Certificate, other: Certificate) -> bool:
    return one.spki_sha256 is not None and one.spki_sha256 == other.spki_sha256


def criticality(affected: Affected) -> tuple[bool, int, tuple[int, float]]:
    """The smaller, the sooner: production first, then what clients see at most places, then by findings and end."""
    places = (*affected.served, *affected.stored)
    production = any(each.location.labels.get("environment", "").startswith("prod") for each in places)
    return not production, -len(affected.served), urgency(affected)


def all_have(affected: Affected, label: tuple[str, str]) -> bool:
    """All its places have it: an exercise touches nothing that is in production as well."""
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
        one = propose_one(affected, policies, drill=drill, for_findings=False, lost=True)
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
