"""`certwatch findings`."""

from collections.abc import Iterator
from pathlib import Path

import click

from certwatch.cli.failure import ACTION, OK
from certwatch.cli.instants import minute
from certwatch.cli.options import LIMIT, config_option, current_clock, json_option, reader_of
from certwatch.cli.shapes import finding_json, write_json_list
from certwatch.cli.table import write_table
from certwatch.cli.where import findings_filter
from certwatch.inventory.store import FindingQuery
from certwatch.model.finding import SEVERITIES, Finding

COLUMNS = ("id", "severity", "rule", "summary", "location", "owner", "opened")


@click.command(name="findings")
@click.option("--severity", type=click.Choice(SEVERITIES))
@click.option("--rule", metavar="ID")
@click.option("--owner", metavar="TEAM")
@click.option(
    "--where", metavar="CEL", help='A condition: finding.rule == "expiry" && cert.key.type == "rsa".'
)
@click.option("--unsilenced", is_flag=True, help="Without those under a silence.")
@click.option("--all", "all_", is_flag=True, help="Resolved ones too.")
@click.option("--limit", type=LIMIT, metavar="N", help="At most so many.")
@json_option
@config_option
def command(
    severity: str | None,
    rule: str | None,
    owner: str | None,
    where: str | None,
    unsilenced: bool,
    all_: bool,
    limit: int | None,
    as_json: bool,
    config: Path | None,
) -> int:
    """List what is wrong, gravest first. Exit status 1: a page or ticket is open, and nobody silenced it."""
    query = FindingQuery(
        severity=severity,  # type: ignore[arg-type]
        rule=rule,
        owner=owner,
        all=all_,
        limit=limit,
        silenced=not unsilenced,
        where=findings_filter(where, current_clock()()) if where is not None else None,
    )
    urgent = False

    def noted(findings: Iterator[Finding]) -> Iterator[Finding]:
        nonlocal urgent
        for finding in findings:
            urgent = urgent or (finding.is_told and finding.severity in ("page", "ticket"))
            yield finding

    with reader_of(config) as reader:
        found = noted(reader.findings(query))
        if as_json:
            write_json_list("findings", map(finding_json, found))
        elif not write_table(
            (*COLUMNS, "resolved") if all_ else COLUMNS,
            (_row(each, all_) for each in found),
            spare=("opened",),
        ):
            click.echo("certwatch: nothing is wrong", err=True)
    return ACTION if urgent else OK


def _row(finding: Finding, all_: bool) -> tuple[str, ...]:
    row = (
        str(finding.id),
        finding.severity if finding.silence is None else f"{finding.severity}, silenced",
        finding.rule,
        finding.summary,
        finding.location,
        finding.owner or "—",
        minute(finding.opened_at),
    )
    return (*row, minute(finding.resolved_at)) if all_ else row
