"""`certwatch rules`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import FAILED, USAGE, Failed
from certwatch.cli.options import config_option, json_option, use_config
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import lines, shown

if TYPE_CHECKING:
    from certwatch.config.settings import Config
    from certwatch.plugins.rule import Rule


@click.group(name="rules", invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, config: Path | None) -> None:
    """List what is checked, and explain why."""
    use_config(ctx, config)
    if ctx.invoked_subcommand is not None:
        return
    settings, rules = _rules(config)
    off = settings.rules.off
    if as_json:
        write_json({"rules": [{**_json(each), "checked": each.id not in off} for each in rules]})
    else:
        write_table(
            ("id", "severity", "what", "source", "checked"),
            [
                (each.id, each.severity, each.title, each.source, "no" if each.id in off else "yes")
                for each in rules
            ],
        )


@command.command(name="explain")
@click.argument("id")
@json_option
@config_option
def explain(id: str, as_json: bool, config: Path | None) -> None:
    """Explain one rule: why it matters, what to do."""
    settings, rules = _rules(config)
    rule = next((each for each in rules if each.id == id), None)
    if rule is None:
        import difflib

        known = [each.id for each in rules]
        near = difflib.get_close_matches(id, known, n=1)
        hint = f', did you mean "{near[0]}"?' if near else f" (known: {', '.join(known)})"
        raise Failed(USAGE, f'unknown rule "{id}"{hint}')
    configured = settings.rules.configured.get(id)
    values = _settings(configured if configured is not None else rule.Config())
    if as_json:
        write_json({**_json(rule), "why": rule.why, "fix": rule.fix, "settings": values})
        return
    click.echo(shown(f"{rule.id}: {rule.title}") + "\n")
    click.echo(f"{rule.why}\n\nWhat to do: {rule.fix}\n")
    rows = [
        ("severity", f"{rule.severity} at most"),
        ("source", rule.source),
        ("runbook", rule.runbook),
        ("checked", "no: switched off" if id in settings.rules.off else "yes"),
        *((f"setting {key}", str(value)) for key, value in values.items()),
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


def _json(rule: "Rule") -> dict[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "source": rule.source,
        "runbook": rule.runbook,
    }


def _settings(config: Any) -> dict[str, Any]:
    return dict(config.model_dump(mode="json"))


def _rules(path: Path | None) -> "tuple[Config, list[Rule]]":
    """The config, and all rules: those installed, then the user's own."""
    from certwatch.config.load import load
    from certwatch.expressions.custom_rule import custom_rule
    from certwatch.plugins import registry

    config = load(path, env=os.environ)
    rules: list[Rule] = []
    failures = []
    for id in registry.names("rules"):
        try:
            rules.append(registry.load("rules", id))
        except registry.PluginError as error:
            failures.append(str(error))
    rules += [
        custom_rule(each.id, severity=each.severity, when=each.when, summary=each.summary, text=each.text)
        for each in config.rules.custom
    ]
    for failure in failures:
        click.echo(f"certwatch: {shown(failure)}", err=True)
    if not rules:
        raise Failed(FAILED, "no rule is installed")
    return config, rules
