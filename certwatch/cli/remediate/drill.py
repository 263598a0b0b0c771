"""`certwatch remediate drill`: something is broken in staging on purpose, and a report says what happened."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import duration, iso
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.remediate.stage import Stage, certificate_of, stage_of, told
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown

if TYPE_CHECKING:
    from certwatch.model.certificate import Certificate
    from certwatch.remediation.drills.exercise import Exercise

SCENARIOS = ("expired-certificate", "half-deployed", "ocsp-outage", "ca-compromised")
SIGNS = {"done": "→", "seen": "✓", "missed": "✗", "noted": "!"}


@click.command(name="drill")
@click.argument("scenario", type=click.Choice(SCENARIOS))
@click.argument("certificate", required=False)
@click.option(
    "--label", required=True, metavar="LABEL=VALUE", help="Only what has this label at all its places."
)
@click.option("--why", required=True, metavar="TEXT", help="For the ledger and the report.")
@click.option(
    "--within", default="3h", metavar="TIME", help="For all that is waited for together. Default: 3h."
)
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the report there, Markdown."
)
@json_option
@config_option
def drill(
    scenario: Any,
    certificate: str | None,
    label: str,
    why: str,
    within: str,
    by: str | None,
    report: Path | None,
    as_json: bool,
    config: Path | None,
) -> int:
    """Break something in staging on purpose, wait for what should happen by itself, and report. The daemon must run.

    \b
    expired-certificate  an expired certificate is served: found, replaced, seen
    half-deployed        a renewal stops half way: that places differ is found
    ocsp-outage          the embedded CA's responder is out for an intermediate
    ca-compromised       all that a CA has issued there is replaced (M10)

    CERTIFICATE (a fingerprint): what it is about; the CA of the last two. What did not mend itself is put back. Exit status
    1: something that was expected did not come.
    """
    from certwatch.cli.ca.opening import person
    from certwatch.cli.proofs import keep
    from certwatch.remediation.drills.exercise import Exercise

    key, equals, value = label.partition("=")
    if not equals or not key or not value:
        raise Failed(USAGE, "--label: a label and its value, like environment=staging")
    who = by or person()
    span: timedelta = duration(within)
    with stage_of(config) as stage:
        about: Certificate | None = None
        if certificate is not None:
            with stage.reading() as reader:
                about = certificate_of(reader, certificate)
        _check_daemon(stage)
        exercise = Exercise(
            world=stage.world(lambda _: None),
            scenario=scenario,
            label=(key, value),
            within=span,
            tell=lambda text: click.echo(f"certwatch: {shown(text)}", err=True),
        )
        told(stage, "drill-begun", {"scenario": scenario, "label": label, "by": who, "why": why})
        failed = asyncio.run(_run(exercise, about, stage, who, why))
        passed = exercise.passed and failed is None
        told(
            stage,
            "drill-ended",
            {"scenario": scenario, "label": label, "passed": passed, "seconds": exercise.seconds},
        )
        said = {
            "scenario": scenario,
            "label": label,
            "passed": passed,
            "seconds": exercise.seconds,
            "about": exercise.about,
        }
        keep(stage.config, "drill", current_clock()(), who, said)
    text = _markdown(exercise, who, why, passed=passed)
    if report is not None:
        try:
            report.write_text(text)
        except OSError as error:
            raise Failed(FAILED, f"{report}: cannot be written: {error.strerror}") from error
    if as_json:
        write_json(
            {
                **said,
                "by": who,
                "why": why,
                "entries": [
                    {"at": iso(each.at), "kind": each.kind, "what": each.what, "seconds": each.seconds}
                    for each in exercise.entries
                ],
            }
        )
    else:
        click.echo(text)
    return OK if passed else ACTION


async def _run(
    exercise: "Exercise", about: "Certificate | None", stage: Stage, who: str, why: str
) -> str | None:
    """None: all came. Else what did not. Raises RemediationError: it could not begin."""
    from certwatch.remediation.drills import scenarios
    from certwatch.remediation.drills.exercise import DrillFailed

    try:
        if exercise.scenario == "expired-certificate":
            await scenarios.expired_certificate(exercise, about)
        elif exercise.scenario == "half-deployed":
            await scenarios.half_deployed(exercise, about)
        elif exercise.scenario == "ocsp-outage":
            await scenarios.ocsp_outage(exercise, about, stage.ask_ca)
        else:
            await scenarios.ca_compromised(exercise, about, by=who, why=why)
    except DrillFailed as failed:
        return str(failed)
    return None


def _check_daemon(stage: Stage) -> None:
    """What should happen by itself, happens in the daemon: it has the lock of those who carry plans out. Raises Failed."""
    from certwatch.remediation.failure import RemediationError
    from certwatch.remediation.opening import folder_of
    from certwatch.remediation.running import ExecutorLock

    try:
        lock = ExecutorLock(folder_of(stage.config, os.environ))
    except RemediationError as error:
        if error.kind == "refused":
            return
        raise
    lock.release()
    raise Failed(
        FAILED, "no daemon runs with this config: nothing would happen by itself. Start it: certwatch run"
    )


def _markdown(exercise: "Exercise", who: str, why: str, *, passed: bool) -> str:
    lines = [
        f"# Exercise: {exercise.scenario}",
        "",
        f"- result: {'passed' if passed else 'NOT passed'}, after {exercise.seconds:.1f} s",
        f"- about: {shown(exercise.about)}, in {'='.join(exercise.label)}",
        f"- by: {shown(who)}: {shown(why)}",
        "",
        "| time (UTC) | | what | waited |",
        "|---|---|---|---|",
    ]
    for each in exercise.entries:
        waited = f"{each.seconds:.1f} s" if each.seconds is not None else ""
        what = shown(each.what).replace("|", "\\|")
        lines.append(f"| {each.at:%H:%M:%S} | {SIGNS[each.kind]} {each.kind} | {what} | {waited} |")
    return "\n".join(lines) + "\n"
