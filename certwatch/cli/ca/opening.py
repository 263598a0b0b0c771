"""From the options and the config to a CA that can be asked."""

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certwatch.cli.failure import USAGE, Failed
from certwatch.cli.options import config_option, current_clock

if TYPE_CHECKING:
    from certwatch.ca.authority import Authority
    from certwatch.ca.keys import Secrets
    from certwatch.ca.settings import CASettings

F = TypeVar("F", bound=Callable[..., Any])


def ca_options(function: F) -> F:
    """The options of every verb that works on a CA; it is given one `Opening`."""

    def take(*args: Any, **kwargs: Any) -> Any:
        opening = Opening(
            config=kwargs.pop("config"),
            directory=kwargs.pop("directory"),
            pkcs11=kwargs.pop("pkcs11"),
            key_file=kwargs.pop("key_file"),
        )
        return function(opening, *args, **kwargs)

    take.__doc__ = function.__doc__
    take.__name__ = function.__name__
    take.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined]
    wrapped: Any = take
    for option in (
        click.option(
            "--key-file", metavar="FILE", type=click.Path(path_type=Path), help="A key file, for trials."
        ),
        click.option("--pkcs11", metavar="URI", help="The token (RFC 7512)."),
        click.option(
            "--directory", metavar="FOLDER", type=click.Path(path_type=Path), help="The CA's folder."
        ),
        config_option,
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Opening:
    config: Path | None
    directory: Path | None
    pkcs11: str | None
    key_file: Path | None

    def settings(self) -> "tuple[CASettings, Secrets]":
        """Raises CAError, ConfigError."""
        from certwatch.ca.configured import configured
        from certwatch.config import defaults
        from certwatch.config.ca import CaKeys
        from certwatch.config.load import load

        if self.pkcs11 is not None and self.key_file is not None:
            raise Failed(USAGE, "--pkcs11 and --key-file: one of them is enough")
        keys = load(self.config, env=os.environ).ca or CaKeys()
        folder = keys.directory or str(defaults.ca_folder(os.environ, uid=os.getuid()))
        return configured(
            keys,
            self.directory or Path(folder),
            env=os.environ,
            place=self.pkcs11 if self.key_file is None else f"file:{self.key_file.expanduser().absolute()}",
            say=lambda message: click.echo(f"certwatch: {message}", err=True),
        )

    def authority(self, *, create: bool = False) -> "Authority":
        """`with` it. Raises CAError, ConfigError."""
        from certwatch.ca.authority import Authority

        settings, secrets = self.settings()
        return Authority(settings, secrets, current_clock(), create=create)

    def ask(self, act: str, values: dict[str, Any]) -> dict[str, Any]:
        """Have the CA do something: in the daemon that has it, else in this process. Raises CAError."""
        from certwatch.ca.acts import perform
        from certwatch.ca.local_socket import ask_daemon

        settings, _ = self.settings()
        answer = ask_daemon(settings.directory, act, values)
        if answer is not None:
            return answer
        with self.authority() as authority:
            return perform(authority, act, values)


def person() -> str:
    """Who sits here: by the kernel's record of who logged in; where there is none, behind sudo who called it."""
    from certwatch.ca.people import who_logged_in

    known = who_logged_in()
    if known is not None:
        return known
    if os.getuid() == 0 and os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
