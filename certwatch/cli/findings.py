"""`certwatch findings`."""

from collections.abc import Iterator
from pathlib import Path

import click

from certwatch.cli.failure import ACTION, OK
from certwatch.cli.instants import minute
from certwatch.cli.options import LIMIT, config_option, json_option, reader_of
from certwatch.cli.shapes import finding_json, write_json_list
from certwatch.cli.table import write_table
from certwatch.inventory.store import FindingQuery
from certwatch.model.finding import SEVERITIES, Finding

COLUMNS = ("id", "severity", "rule", "summary", "location", "owner", "opened")


@click.command(name="findings")
@click.option("--severity", type=click.Choice(SEVERITIES))
@click.option("--rule", metavar="ID")
@click.option("--owner", metavar="TEAM")
@click.option("--all", "all_", is_flag=True, help="Resolved ones too.")
@click.option("--limit", type=LIMIT, metavar="N", help="At most so many.")
@json_option
@config_option
def command(
    severity: str | None,
    rule: str | None,
    owner: str | None,
    all_: bool,
    limit: int | None,
    as_json: bool,
    config: Path | None,
) -> int:
    """List what is wrong, gravest first. Exit status 1: a page or ticket is open."""
    query = FindingQuery(severity=severity, rule=rule, owner=owner, all=all_, limit=limit)  # type: ignore[arg-type]
    urgent = False

    def noted(findings: Iterator[Finding]) -> Iterator[Finding]:
        nonlocal urgent
        for finding in findings:
            urgent = urgent or (finding.resolved_at is None and finding.severity in ("page", "ticket"))
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
        finding.severity,
        finding.rule,
        finding.summary,
        finding.location,
        finding.owner or "—",
        minute(finding.opened_at),
    )
    return (*row, minute(finding.resolved_at)) if all_ else row
