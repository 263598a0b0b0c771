"""`certwatch rules`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certwatch.cli.failure import FAILED, USAGE, Failed
from certwatch.cli.options import config_option, json_option, use_config
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import lines, shown

if TYPE_CHECKING:
    from certwatch.engine.known_rules import KnownRule


@click.group(name="rules", invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, config: Path | None) -> None:
    """List what is checked, and explain why."""
    use_config(ctx, config)
    if ctx.invoked_subcommand is not None:
        return
    from certwatch.engine.known_rules import rule_listed

    listed = list(map(rule_listed, _rules(config)))
    if as_json:
        write_json({"rules": listed})
    else:
        write_table(
            ("id", "severity", "what", "source", "checked"),
            [
                (
                    each["id"],
                    each["severity"],
                    each["title"],
                    each["source"],
                    "yes" if each["checked"] else "no",
                )
                for each in listed
            ],
        )


@command.command(name="explain")
@click.argument("id")
@json_option
@config_option
def explain(id: str, as_json: bool, config: Path | None) -> None:
    """Explain one rule: why it matters, what to do."""
    from certwatch.engine.known_rules import rule_explained

    rules = _rules(config)
    found = next((each for each in rules if each.rule.id == id), None)
    if found is None:
        import difflib

        known = [each.rule.id for each in rules]
        near = difflib.get_close_matches(id, known, n=1)
        hint = f', did you mean "{near[0]}"?' if near else f" (known: {', '.join(known)})"
        raise Failed(USAGE, f'unknown rule "{id}"{hint}')
    rule = found.rule
    if as_json:
        write_json(rule_explained(found))
        return
    click.echo(shown(f"{rule.id}: {rule.title}") + "\n")
    click.echo(f"{rule.why}\n\nWhat to do: {rule.fix}\n")
    rows = [
        ("severity", f"{rule.severity} at most"),
        ("source", rule.source),
        ("runbook", rule.runbook),
        ("checked", "yes" if found.checked else "no: switched off"),
        *((f"setting {key}", str(value)) for key, value in found.settings.items()),
    ]
    click.echo("\n".join(lines([(name, shown(value)) for name, value in rows])))


@command.command(name="test")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@config_option
def test(file: Path, as_json: bool, config: Path | None) -> int:
    """Hold the rules of a config against fixtures, for your CI. Exit status 1: a test failed."""
    from certwatch.cli.rules_test import run_tests

    return run_tests(file, config, as_json=as_json)


def _rules(path: Path | None) -> "Sequence[KnownRule]":
    """All rules: those installed, then the user's own."""
    from certwatch.config.load import load
    from certwatch.engine.known_rules import known_rules

    rules, failures = known_rules(load(path, env=os.environ))
    for failure in failures:
        click.echo(f"certwatch: {shown(failure)}", err=True)
    if not rules:
        raise Failed(FAILED, "no rule is installed")
    return rules
