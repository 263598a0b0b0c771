"""`certwatch completion SHELL`."""

import click
from click.shell_completion import get_completion_class

from certwatch.cli.failure import OK


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print what makes a shell complete verbs and options.

    bash: source <(certwatch completion bash) · zsh: the same · fish: certwatch completion fish | source
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - one of click's own
    click.echo(made(ctx.find_root().command, {}, "certwatch", "_CERTWATCH_COMPLETE").source())
    return OK
