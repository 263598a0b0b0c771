"""Rotation of an intermediate: a successor takes over what is made from now on, the former one stays for what it made, and is
retired when nothing live depends on it. Its CRLs and OCSP answers go on until its own certificate ends."""

import json
import re
from dataclasses import dataclass
from datetime import datetime

from certwatch.ca.authority import Authority, instant
from certwatch.ca.certificate import Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.found import Founded, found_intermediate
from certwatch.ca.ledger import micros
from certwatch.ca.profiles import INTERNAL
from certwatch.ca.signer import KeyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependents:
    """Certificates that are in force and not revoked."""

    count: int
    #: When the last of them ends. None: there are none.
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    former: Issuer
    #: What the new one is called.
    successor: str
    #: Who signs it here. None: the root is elsewhere, the CSR is carried there.
    root: str | None
    dependents: Dependents


def dependents(authority: Authority, issuer: Issuer) -> Dependents:
    """What the CA made for itself is left out: it is made anew by whoever issues then."""
    [(count, until)] = authority.rows(
        "SELECT count(*), max(not_after) FROM certificates WHERE issuer = ? AND state = 'issued' AND revoked IS NULL"
        " AND not_after > ? AND profile NOT IN (SELECT value FROM json_each(?))",
        issuer.id,
        micros(authority.clock()),
        json.dumps([*INTERNAL]),
    )
    return Dependents(count=count, until=instant(until) if until is not None else None)


def plan(authority: Authority, name: str | None = None, *, successor: str | None = None) -> Plan:
    """What rotating an intermediate would do; without a name the one that issues now. Changes nothing. Raises CAError."""
    former = authority.issuer(name)
    if former.kind != "intermediate":
        raise CAError(
            "usage",
            f"{former.name}: is a root, and roots are not rotated: found a new one, and have the former one cross-sign it",
        )
    [(present,)] = authority.rows("SELECT successor FROM issuers WHERE id = ?", former.id)
    if present is not None:
        [(next_name, certificate)] = authority.rows(
            "SELECT name, certificate FROM issuers WHERE id = ?", present
        )
        state = "which issues" if certificate is not None else "which waits for its certificate"
        raise CAError("usage", f"{former.name}: is rotated already, by {next_name}, {state}")
    roots = [each for each in authority.issuers() if each.kind == "root"]
    return Plan(
        former=former,
        successor=successor or _following(authority, former.name),
        root=roots[-1].name if roots else None,
        dependents=dependents(authority, former),
    )


def _following(authority: Authority, name: str) -> str:
    """ "Issuing" is followed by "Issuing 2"."""
    taken = {each for (each,) in authority.rows("SELECT name FROM issuers")}
    match = re.fullmatch(r"(.*) (\d{1,6})", name)
    base, number = (match[1], int(match[2])) if match is not None else (name, 1)
    while True:
        number += 1
        following = f"{base[: 63 - len(str(number))]} {number}"
        if following not in taken:
            return following


def rotate(
    authority: Authority, planned: Plan, *, by: str, key_type: KeyType = "ec-p256", place: str | None = None
) -> Founded:
    """The successor's key and certificate, or its CSR; from its certificate on, it issues. Raises CAError."""
    with authority.turn:
        made = found_intermediate(
            authority,
            planned.successor,
            by=by,
            key_type=key_type,
            place=place,
            environment=planned.former.environment,
        )
        with authority.act() as act:
            act.connection.execute(
                "UPDATE issuers SET successor = (SELECT id FROM issuers WHERE name = ?) WHERE id = ?",
                (planned.successor, planned.former.id),
            )
            act.append(
                "rotation", [{"issuer": planned.former.name, "successor": planned.successor, "by": by}]
            )
    return made


def retire(authority: Authority) -> list[str]:
    """Retire the rotated ones that nothing live depends on: their names. Raises CAError."""
    retired: list[str] = []
    with authority.turn:
        ready = {
            id
            for (id,) in authority.rows(
                "SELECT former.id FROM issuers AS former JOIN issuers AS next ON next.id = former.successor"
                " WHERE former.retired IS NULL AND next.certificate IS NOT NULL"
            )
        }
        for issuer in authority.issuers():
            if issuer.id not in ready or dependents(authority, issuer).count:
                continue
            with authority.act() as act:
                act.connection.execute(
                    "UPDATE issuers SET retired = ? WHERE id = ?", (act.instant, issuer.id)
                )
                act.append("retirement", [{"issuer": issuer.name}])
            retired.append(issuer.name)
    return retired
