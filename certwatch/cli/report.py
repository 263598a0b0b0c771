"""What a scan saw, judged without an inventory, as a table or as JSON."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import click

from certwatch.cli.instants import left, minute
from certwatch.cli.shapes import observation_json, write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import common_name, first_of
from certwatch.engine.judge import RuleSet, judge
from certwatch.inventory.store import Due, RuleProblem
from certwatch.model.certificate import Certificate
from certwatch.model.finding import SEVERITIES
from certwatch.model.location import Location
from certwatch.model.observation import Continued, Incomplete, Observation, Unchanged
from certwatch.model.sighting import Served
from certwatch.x509.der import read

#: Whatever a collector may say.
Said = Observation | Incomplete | Unchanged | Continued


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    observation: Observation
    #: Parsed, leaf first.
    chain: tuple[Certificate, ...]
    problems: tuple[RuleProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    #: By location.
    looks: tuple[Look, ...]
    #: What could not be looked at as a whole, each a message.
    incomplete: tuple[str, ...]
    #: Addresses of networks, and ports of this host, where nothing showed a certificate.
    silent: int
    now: datetime

    @property
    def urgent(self) -> bool:
        return any(
            each.problem.severity in ("page", "ticket") for look in self.looks for each in look.problems
        )


def judged(heard: Iterable[Said], rules: RuleSet, now: datetime) -> Report:
    parsed: dict[bytes, Certificate] = {}
    looks, incomplete, silent = [], [], 0
    for said in heard:
        if isinstance(said, Incomplete):
            incomplete.append(said.error.message)
            continue
        if not isinstance(said, Observation):
            continue
        if said.guessed and not said.chain:
            silent += 1
            continue
        for der in said.chain:
            if der not in parsed:
                parsed[der] = read(der)
        chain = tuple(parsed[der] for der in said.chain)
        looks.append(Look(observation=said, chain=chain, problems=problems_of(said, chain, rules, now)))
    looks.sort(key=lambda each: each.observation.location)
    return Report(looks=tuple(looks), incomplete=tuple(incomplete), silent=silent, now=now)


def problems_of(
    observation: Observation, chain: tuple[Certificate, ...], rules: RuleSet, now: datetime
) -> tuple[RuleProblem, ...]:
    """As a location that was seen for the first time, now; gravest first."""
    at = observation.observed_at
    served = Served(
        id=1,
        location=Location(uri=observation.location, labels=observation.labels),
        collectors=("scan",),
        chain=chain,
        facts=observation.facts,
        error=observation.error,
        failing_since=at if observation.error is not None else None,
        first_seen=at,
        last_seen=at,
        last_served=at if chain else None,
        retired_at=None,
    )
    judgement, _ = judge(Due(served=served, revision=1, changed=True), rules, now)
    order = {severity: index for index, severity in enumerate(SEVERITIES)}
    return tuple(sorted(judgement.problems, key=lambda each: order[each.problem.severity]))


def write_report_json(report: Report) -> None:
    """The shape of `certwatch scan --json`."""
    write_json(
        {
            "observations": [observation_json(each.observation, each.chain) for each in report.looks],
            "findings": [
                {
                    "rule": each.rule,
                    "severity": each.problem.severity,
                    "location": look.observation.location,
                    "fingerprint_sha256": each.problem.fingerprint.hex()
                    if each.problem.fingerprint is not None
                    else None,
                    "summary": each.problem.summary,
                }
                for look in report.looks
                for each in look.problems
            ],
        }
    )


def write_report(report: Report) -> None:
    rows = [_row(each, report.now) for each in report.looks]
    if not write_table(("location", "expires", "left", "names", "issuer", "findings"), rows):
        click.echo("certwatch: no certificate was found", err=True)
    findings = _findings(report.looks)
    if findings:
        click.echo()
        write_table(("severity", "rule", "summary", "location"), findings)


def _row(look: Look, now: datetime) -> tuple[str, ...]:
    location = look.observation.location
    if not look.chain:
        error = look.observation.error
        if error is None and "crl_kind" in look.observation.facts:
            return (location, *_crl(look, now), _counted(look.problems))
        said = f"{error.kind}: {error.message}" if error is not None else "nothing was presented"
        return (location, "—", "—", said, "—", _counted(look.problems))
    leaf = look.chain[0]
    names = [name.partition(":")[2] for name in leaf.names] or [common_name(leaf.subject)]
    if look.observation.facts.get("arrangement") == "bundle" and len(look.chain) > 1:
        # Unordered: the first is no more than the first.
        names += [""] * (len(look.chain) - 1)
    return (
        location,
        minute(leaf.not_after),
        left(leaf.not_after, now),
        first_of(names),
        common_name(leaf.issuer),
        _counted(look.problems),
    )


def _crl(look: Look, now: datetime) -> tuple[str, str, str, str]:
    facts = look.observation.facts
    end = None
    with suppress(KeyError, ValueError):
        end = datetime.fromisoformat(str(facts["crl_next_update"]))
    said = f"CRL, {facts.get('crl_kind')}, {facts.get('crl_entries', '?')} revoked"
    return minute(end), left(end, now), said, common_name(str(facts.get("crl_issuer", "")))


def _counted(problems: Sequence[RuleProblem]) -> str:
    counts = [
        (sum(each.problem.severity == severity for each in problems), severity) for severity in SEVERITIES
    ]
    return ", ".join(f"{severity} {count}" for count, severity in counts if count) or "ok"


def _findings(looks: Sequence[Look]) -> list[tuple[str, ...]]:
    return [
        (each.problem.severity, each.rule, each.problem.summary, look.observation.location)
        for severity in SEVERITIES
        for look in looks
        for each in look.problems
        # That a look failed stands in its row already.
        if each.problem.severity == severity and (look.chain or severity != "info")
    ]
