"""Which passphrases are tried on which file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from collectors.file.walk import absolute, expression


class Passphrase(BaseModel):
    """A passphrase, and what it is for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Globs of the files that it is tried on, folders with everything below them.
    paths: tuple[str, ...] = Field(min_length=1)
    passphrase: SecretStr


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made once a scan. Holds what must not be shown: no repr."""

    #: Expressions of the paths, and the passphrase.
    of_paths: tuple[tuple[tuple[re.Pattern[str], ...], str], ...]
    of_all: tuple[str, ...]

    def __repr__(self) -> str:
        return "Secrets(…)"

    @classmethod
    def of(cls, general: SecretStr | None, particular: Sequence[Passphrase]) -> "Secrets":
        return cls(
            tuple(
                (
                    tuple(expression(absolute(path)) for path in each.paths),
                    each.passphrase.get_secret_value(),
                )
                for each in particular
            ),
            (general.get_secret_value(),) if general is not None else (),
        )

    def for_path(self, path: str) -> tuple[str, ...]:
        """Those for this very path first, in the order of the config; then the one for all."""
        own = (
            passphrase
            for expressions, passphrase in self.of_paths
            if any(each.fullmatch(path) for each in expressions)
        )
        return tuple(dict.fromkeys([*own, *self.of_all]))
