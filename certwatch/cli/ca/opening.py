"""From the options and the config to a CA that can be asked."""

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
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
        from certwatch.ca.keys import Secrets
        from certwatch.ca.settings import settings_of
        from certwatch.config import defaults
        from certwatch.config.ca import CaKeys
        from certwatch.config.load import load
        from certwatch.config.profiles_file import read_profiles

        if self.pkcs11 is not None and self.key_file is not None:
            raise Failed(USAGE, "--pkcs11 and --key-file: one of them is enough")
        keys = load(self.config, env=os.environ).ca or CaKeys()
        profiles = (
            read_profiles(Path(keys.profiles), env=os.environ)
            if isinstance(keys.profiles, str)
            else keys.profiles
        )
        folder = keys.directory or str(defaults.data_folder(os.environ, uid=os.getuid()) / "ca")
        directory = (self.directory or Path(folder)).expanduser().absolute()
        settings = settings_of(keys, profiles, directory)
        if self.pkcs11 is not None:
            settings = replace(settings, key_place=self.pkcs11)
        elif self.key_file is not None:
            settings = replace(settings, key_place=f"file:{self.key_file.expanduser().absolute()}")
        passphrase = keys.key_passphrase.get_secret_value() if keys.key_passphrase is not None else None
        pin = keys.pin.get_secret_value() if keys.pin is not None else _pin_in(self.pkcs11 or keys.token)
        return settings, Secrets(
            passphrase=lambda: _passphrase(directory, passphrase),
            pin=lambda: pin or os.environ.get("CERTWATCH_CA_PIN") or None,
        )

    def authority(self, *, create: bool = False) -> "Authority":
        """`with` it. Raises CAError, ConfigError."""
        from certwatch.ca.authority import Authority

        settings, secrets = self.settings()
        return Authority(settings, secrets, current_clock(), create=create)

    def ask(self, act: str, values: dict[str, Any]) -> dict[str, Any]:
        """Have the CA do something: in this process. Raises CAError."""
        from certwatch.ca.acts import perform

        with self.authority() as authority:
            return perform(authority, act, values)


def _pin_in(uri: str | None) -> str | None:
    if uri is None:
        return None
    from certwatch.ca.pkcs11_uri import parse

    return parse(uri).pin_value


def _passphrase(directory: Path, configured: str | None) -> bytes:
    """The config's, the environment's, the folder's own, or a person's."""
    from certwatch.ca.failure import CAError
    from certwatch.ca.key_file import write_new

    given = configured or os.environ.get("CERTWATCH_CA_PASSPHRASE")
    if given:
        return given.encode()
    kept = directory / "passphrase"
    try:
        return kept.read_bytes().removesuffix(b"\n")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CAError("pin", f"{kept}: cannot be read: {error.strerror}") from error
    import secrets

    made = secrets.token_urlsafe(24).encode()
    write_new(kept, made + b"\n")
    click.echo(
        f"certwatch: no passphrase for key files was given (CERTWATCH_CA_PASSPHRASE, ca: key_passphrase_file): one was made,"
        f" in {kept}. Keep it apart from the key",
        err=True,
    )
    return made


def person() -> str:
    """Who sits here: behind sudo, who called it."""
    if os.getuid() == 0 and os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
