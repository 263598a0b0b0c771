"""From the config to what an `Authority` is opened with: settings, and where its secrets come from."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from certwatch.ca.failure import CAError
from certwatch.ca.key_file import write_new
from certwatch.ca.keys import Secrets
from certwatch.ca.pkcs11_uri import parse
from certwatch.ca.settings import CASettings, settings_of
from certwatch.config.ca import CaKeys
from certwatch.config.profiles_file import read_profiles


def configured(
    keys: CaKeys,
    folder: Path,
    *,
    env: Mapping[str, str],
    place: str | None = None,
    say: Callable[[str], None],
) -> tuple[CASettings, Secrets]:
    """`folder`: the CA's, if the config names none. `place`: where new keys are made, over the config's. `say` is told
    when a passphrase was made up. Raises CAError, ConfigError."""
    profiles = (
        read_profiles(Path(keys.profiles), env=env) if isinstance(keys.profiles, str) else keys.profiles
    )
    directory = folder.expanduser().absolute()
    settings = settings_of(keys, profiles, directory)
    if place is not None:
        settings = replace(settings, key_place=place)
    passphrase = keys.key_passphrase.get_secret_value() if keys.key_passphrase is not None else None
    token = place if place is not None and not place.startswith("file:") else keys.token
    pin = keys.pin.get_secret_value() if keys.pin is not None else _pin_in(token)
    return settings, Secrets(
        passphrase=lambda: _passphrase(directory, passphrase or env.get("CERTWATCH_CA_PASSPHRASE"), say),
        pin=lambda: pin or env.get("CERTWATCH_CA_PIN") or None,
    )


def _pin_in(uri: str | None) -> str | None:
    return parse(uri).pin_value if uri is not None else None


def _passphrase(directory: Path, given: str | None, say: Callable[[str], None]) -> bytes:
    """The config's or the environment's, else the folder's own."""
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
    say(
        "no passphrase for key files was given (CERTWATCH_CA_PASSPHRASE, ca: key_passphrase_file): one was made,"
        f" in {kept}. Keep it apart from the key"
    )
    return made
