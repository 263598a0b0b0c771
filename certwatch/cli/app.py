"""`certwatch VERB`: the verbs, loaded when they are called, and what becomes of errors.

Exit status everywhere: 0 fine; 1 it worked, and what it found needs action (an open page or ticket finding); 2 usage or
config; 3 it could not do what was asked; 130 interrupted.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

import certwatch
from certwatch.cli.failure import INTERRUPTED, PIPE_CLOSED, USAGE, failure_of
from certwatch.cli.options import use_config
from certwatch.cli.text import shown

#: Verb → module and what the list of verbs says, so that --help loads none of them.
VERBS: dict[str, tuple[str, str]] = {
    "scan": ("scan", "Look once at endpoints and files, without a config."),
    "run": ("run", "Watch: the daemon."),
    "worker": ("worker", "Look at what is in this network zone, for a daemon elsewhere."),
    "collect": ("collect", "Run configured collectors once, into the inventory."),
    "list": ("listing", "List the certificates of the inventory."),
    "show": ("show", "Show a certificate, a location or a finding."),
    "findings": ("findings", "List what is wrong."),
    "silence": ("silence", "Take note of findings: nobody is told of them for a while."),
    "page": ("page", "Prove that pages arrive: send one, have it confirmed."),
    "mark": ("mark", "Say that a key is compromised, or a certificate retired."),
    "rules": ("rules", "List what is checked, and explain why."),
    "slo": ("slo", "Show the SLIs against their targets."),
    "export": ("export", "Write the inventory for other tools."),
    "backup": ("backup", "Copy the inventory, also while it is written."),
    "restore": ("restore", "Put a copy of the inventory back."),
    "inventory": ("inventory", "Move the inventory into another database."),
    "config": ("config", "Check the config, or print its schema."),
    "ct": ("ct", "CT logs: how far they are read, what is expected, and proof."),
    "ca": ("ca", "The embedded CA: make, revoke and prove certificates."),
    "remediate": ("remediate", "Renew what must go, and see it served: plan, approve, apply."),
    "doctor": ("doctor", "Find out why it does not work."),
    "completion": ("completion", "Make a shell complete verbs and options."),
}


class _PipeClosed(Exception):
    """Nobody reads standard output any more."""


class App(click.Group):
    """Loads a verb's module when the verb is called, and ends every run with an exit status, never a traceback for
    what can be expected."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"certwatch.cli.{VERBS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f', did you mean "{near[0]}"?' if near else f" (known: {', '.join(VERBS)})"
            raise click.UsageError(f'unknown verb "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # click would make it exit status 1, which says something else here.
            raise _PipeClosed from error

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        for stream in (sys.stdout, sys.stderr):
            # A terminal that knows few characters must not end a listing.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
        extra["standalone_mode"] = False
        sys.exit(_ended(lambda: super(App, self).main(args, **extra)))


def _ended(run: Callable[[], object]) -> int:
    """The exit status of a run; what went wrong is said on standard error."""
    try:
        result = run()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (_PipeClosed, BrokenPipeError):
        # Who read has enough (| head).
        _drop_output()
        return PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if context is not None:
            click.echo(context.get_usage(), err=True)
        _say([error.format_message()])
        return USAGE
    except Exception as error:
        failed = failure_of(error)
        if failed is None:
            raise
        _say(failed.messages)
        if isinstance(error, OSError):
            _drop_output()
        return failed.status


def _drop_output() -> None:
    """What cannot be written would be tried, and complained of, once more when Python ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _say(messages: Sequence[str]) -> None:
    for message in messages:
        click.echo(f"certwatch: {shown(message)}", err=True)


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(certwatch.__version__, prog_name="certwatch")
@click.option(
    "-c",
    "--config",
    "config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The config. Else $CERTWATCH_CONFIG, ./certwatch.yaml, /etc/certwatch/certwatch.yaml.",
)
@click.pass_context
def app(ctx: click.Context, config: Path | None) -> None:
    """Finds every certificate, judges it, and tells before it causes an outage.

    Exit status: 0 fine, 1 something needs action, 2 usage or config error, 3 it could not be done.
    """
    use_config(ctx, config)
