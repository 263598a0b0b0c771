"""Findings take their course: opened, altered, resolved, as the rules say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from certwatch.inventory.findings import read_findings
from certwatch.inventory.instants import from_micros, to_micros
from certwatch.inventory.session import Session
from certwatch.inventory.store import Judgement, RuleProblem, Settled
from certwatch.inventory.text import storable
from certwatch.model.finding import SEVERITIES, Finding, FindingID
from certwatch.model.location import LocationURI

#: What tells the findings of one location apart: rule and certificate.
_Key = tuple[str, bytes | None]

#: Locations whose findings are read by one statement.
CHUNK = 500


def settle(connection: Session, judgements: Sequence[Judgement], now: int) -> Settled:
    """See `store.Writer.settle`; within the caller's transaction. Of two judgements of one location the last holds."""
    opened: list[Finding] = []
    altered: list[Finding] = []
    resolved: list[Finding] = []
    remaining = iter({judgement.location_id: judgement for judgement in judgements}.values())
    while chunk := list(islice(remaining, CHUNK)):
        uris, known = _known(connection, [judgement.location_id for judgement in chunk])
        for judgement in chunk:
            uri = uris.get(judgement.location_id)
            if uri is None:
                continue  # pruned since it was read
            before, wanted = known.get(uri, {}), _wanted(judgement)
            for key, problem in wanted.items():
                former = before.get(key)
                if former is None:
                    opened.append(_open(connection, judgement, uri, problem, now))
                elif (present := _said(former, problem, judgement.owner)) != former:
                    altered.append(present)
            resolved += [
                # A clock that went back must not resolve before it opened.
                replace(former, resolved_at=max(from_micros(now), former.opened_at))
                for key, former in before.items()
                if key not in wanted and former.rule not in judgement.silent
            ]
        _mark_judged(connection, chunk)
    # After all are marked: one of these may wake another of these.
    _wake(connection, {each for judgement in judgements for each in judgement.wakes}, now)
    _write(connection, altered, resolved)
    return Settled(opened=tuple(opened), altered=tuple(altered), resolved=tuple(resolved))


def _known(
    connection: Session, ids: Sequence[int]
) -> tuple[dict[int, LocationURI], dict[LocationURI, dict[_Key, Finding]]]:
    """URIs by id, and the open findings there."""
    marks = ",".join("?" * len(ids))
    uris = {
        id: LocationURI(uri)
        for id, uri in connection.execute(
            f"SELECT id, uri FROM locations WHERE id IN ({marks})",
            ids,
        )
    }
    known: dict[LocationURI, dict[_Key, Finding]] = {}
    for each in read_findings(connection, f"f.resolved_at IS NULL AND f.location IN ({marks})", ids):
        known.setdefault(each.location, {})[each.rule, each.fingerprint] = each
    return uris, known


def _wanted(judgement: Judgement) -> Mapping[_Key, RuleProblem]:
    """One problem for each rule and certificate: the gravest, of equal ones the first. A rule that failed half-way
    says nothing."""
    wanted: dict[_Key, RuleProblem] = {}
    for each in judgement.problems:
        if each.rule in judgement.silent:
            continue
        key = each.rule, each.problem.fingerprint
        former = wanted.get(key)
        if former is None or _rank(each) < _rank(former):
            wanted[key] = each
    return wanted


def _rank(each: RuleProblem) -> int:
    return SEVERITIES.index(each.problem.severity)


def _open(
    connection: Session, judgement: Judgement, uri: LocationURI, said: RuleProblem, now: int
) -> Finding:
    problem = said.problem
    finding = Finding(
        id=FindingID(0),
        rule=said.rule,
        severity=problem.severity,
        location=uri,
        fingerprint=problem.fingerprint,
        summary=storable(problem.summary),
        text=storable(problem.text),
        runbook=said.runbook,
        owner=storable(judgement.owner),
        opened_at=from_micros(now),
        resolved_at=None,
        silence=said.silence,
    )
    (id,) = connection.execute(
        "INSERT INTO findings (rule, severity, location, fingerprint, summary, text, runbook, owner, opened_at, silence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            finding.rule,
            _rank(said),
            judgement.location_id,
            finding.fingerprint,
            finding.summary,
            finding.text,
            finding.runbook,
            finding.owner,
            now,
            None if said.silence is None else said.silence.id,
        ),
    ).fetchone()
    return replace(finding, id=FindingID(id))


def _said(former: Finding, said: RuleProblem, owner: str) -> Finding:
    """The finding as the rule says it now."""
    return replace(
        former,
        severity=said.problem.severity,
        summary=storable(said.problem.summary),
        text=storable(said.problem.text),
        runbook=said.runbook,
        owner=storable(owner),
        silence=said.silence,
    )


def _mark_judged(connection: Session, judgements: Iterable[Judgement]) -> None:
    # Changed since it was read: another revision, and it stays due.
    connection.update(
        "judgements",
        ("judged", "due_at", "owner"),
        ("location", "revision"),
        [
            (
                judgement.revision,
                None if judgement.due_at is None else to_micros(judgement.due_at),
                storable(judgement.owner),
                judgement.location_id,
                judgement.revision,
            )
            for judgement in judgements
        ],
    )


def _wake(connection: Session, locations: Iterable[int], now: int) -> None:
    connection.executemany(
        "UPDATE judgements SET due_at = min(coalesce(due_at, ?), ?) WHERE location = ?",
        [(now, now, location) for location in sorted(locations)],
    )


def _write(connection: Session, altered: Iterable[Finding], resolved: Iterable[Finding]) -> None:
    connection.update(
        "findings",
        ("severity", "summary", "text", "runbook", "owner", "silence"),
        ("id",),
        [
            (
                SEVERITIES.index(each.severity),
                each.summary,
                each.text,
                each.runbook,
                each.owner,
                None if each.silence is None else each.silence.id,
                each.id,
            )
            for each in altered
        ],
    )
    connection.update(
        "findings",
        ("resolved_at",),
        ("id",),
        [(to_micros(each.resolved_at), each.id) for each in resolved if each.resolved_at is not None],
    )


def require_judgement(connection: Session, digest: str) -> bool:
    """See `store.Writer.require_judgement`; within the caller's transaction."""
    row = connection.execute(f"SELECT value FROM {connection.texts} WHERE key = 'rules'").fetchone()
    if row is not None and row[0] == digest:
        return False
    connection.execute(
        f"INSERT INTO {connection.texts} VALUES ('rules', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (digest,),
    )
    # A new revision too: what is being judged by the old rules this moment must not settle it.
    # Their distance stays: what has not changed is due, and yet not changed.
    connection.execute("UPDATE judgements SET revision = revision + 1, judged = judged + 1, due_at = 0")
    return True
