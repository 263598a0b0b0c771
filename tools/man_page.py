"""`python -m tools.man_page FILE`: the manual page, from what `--help` says."""

import re
import sys
from pathlib import Path

import click

import certwatch
from certwatch.cli.app import VERBS, app


def page() -> str:
    lines = [
        f'.TH CERTWATCH 1 "" "certwatch {certwatch.__version__}"',
        ".SH NAME",
        "certwatch \\- finds every certificate, judges it, and tells before it causes an outage",
        ".SH SYNOPSIS",
        ".B certwatch",
        "[\\-c FILE] VERB …",
        ".SH VERBS",
    ]
    root = click.Context(app, info_name="certwatch")
    for verb in VERBS:
        command = app.get_command(root, verb)
        if command is None:
            raise LookupError(verb)
        lines += _command(command, click.Context(command, info_name=verb, parent=root))
    lines += [
        ".SH EXIT STATUS",
        "0 fine; 1 it worked, and what it found needs action (an open page or ticket); 2 usage or config; 3 it could not be done.",
        ".SH FILES",
        "./certwatch.yaml, /etc/certwatch/certwatch.yaml, else the embedded default.",
        ".SH ENVIRONMENT",
        "CERTWATCH_CONFIG names the config; CERTWATCH_PROMETHEUS the Prometheus that certwatch slo asks.",
    ]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    path = context.command_path.removeprefix("certwatch ")
    lines = [f".SS {_plain(f'certwatch {path} {usage}')}", _plain(command.help or "")]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", f".B {_plain(record[0])}", _plain(record[1])]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                lines += _command(inner, click.Context(inner, info_name=name, parent=context))
    return lines


def _plain(text: str) -> str:
    """On lines of its own, nothing in it a request of roff."""
    lines = [each.strip() for each in text.replace("\b", "").splitlines()]
    text = "\n".join(each for each in lines if each)
    return re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
