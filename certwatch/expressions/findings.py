"""Conditions on findings: those of silences, of routes, and of `certwatch findings --where`."""

from collections.abc import Callable, Iterable
from datetime import datetime

from certwatch.expressions.condition import Expression, ExpressionError, compile
from certwatch.expressions.fields import Subject
from certwatch.model.finding import Finding, Problem
from certwatch.model.sighting import Served
from certwatch.model.silence import Matter, Silence


class Silences:
    """Those that hold, made ready: which of them covers what a rule says."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        """Of several that cover one finding, the one that holds longest does. A condition that does not compile (an
        older version took it) covers nothing."""
        self._matters: dict[Matter, Silence] = {}
        self._conditions: list[tuple[Expression, Silence]] = []
        #: Conditions that this version does not understand.
        self.refused: list[tuple[Silence, str]] = []
        for each in sorted(silences, key=lambda it: (it.until, it.id), reverse=True):
            if isinstance(each.covers, Matter):
                self._matters.setdefault(each.covers, each)
                continue
            try:
                self._conditions.append((compile(each.covers, scope="silence"), each))
            except ExpressionError as error:
                self.refused.append((each, error.message))

    def __bool__(self) -> bool:
        return bool(self._matters or self._conditions)

    def covering(self, rule: str, problem: Problem, served: Served, now: datetime) -> Silence | None:
        matter = Matter(rule=rule, location=served.location.uri, fingerprint=problem.fingerprint)
        found = self._matters.get(matter)
        if found is not None and not found.holds(now):
            found = None
        for expression, each in self._conditions:
            if found is not None and each.until <= found.until:
                break  # in order: none after it holds longer
            if each.holds(now) and expression.matches(_problem_subject(rule, problem, served)):
                return each
        return found


def _problem_subject(rule: str, problem: Problem, served: Served) -> Subject:
    finding: dict[str, object] = {
        "rule": rule,
        "severity": problem.severity,
        "summary": problem.summary,
        "owner": served.owner,
    }
    return _subject(finding, problem.fingerprint, served, None)


def finding_subject(finding: Finding, served: Served | None) -> Subject:
    """A finding as conditions of routes see it. `served`: where it is; None: not known any more."""
    values: dict[str, object] = {
        "rule": finding.rule,
        "severity": finding.severity,
        "summary": finding.summary,
        "owner": finding.owner,
    }
    return _subject(values, finding.fingerprint, served, None)


def findings_filter(text: str, now: datetime) -> Callable[[Finding, Served | None], bool]:
    """As `FindingQuery.where` takes it. Raises ExpressionError."""
    expression = compile(text, scope="findings")

    def holds(finding: Finding, served: Served | None) -> bool:
        values: dict[str, object] = {
            "rule": finding.rule,
            "severity": finding.severity,
            "summary": finding.summary,
            "owner": finding.owner,
            "opened_at": finding.opened_at,
            "silenced": finding.silence is not None,
        }
        if finding.resolved_at is not None:
            values["resolved_at"] = finding.resolved_at
        return expression.matches(_subject(values, finding.fingerprint, served, now))

    return holds


def _subject(
    finding: dict[str, object], fingerprint: bytes | None, served: Served | None, now: datetime | None
) -> Subject:
    """`cert` is the one that the finding is about; where it is about the location, its leaf."""
    if served is None:
        return Subject(certificate=None, location=None, finding=finding, now=now)
    certificate = (
        served.leaf
        if fingerprint is None
        else next((each for each in served.chain if each.fingerprint_sha256 == fingerprint), None)
    )
    return Subject(
        certificate=certificate,
        location=served.location,
        chain=served.chain,
        facts=served.facts,
        collectors=served.collectors,
        owner=served.owner,
        error=served.error.kind if served.error is not None else "",
        finding=finding,
        now=now,
    )
