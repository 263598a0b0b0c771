"""What a look at a file found: one for each place in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from certwatch.model.observation import ErrorKind, Fact, LookError


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    #: The entry of a container, as its location says it. Empty: the file itself.
    entry: str = ""
    chain: tuple[bytes, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    error: LookError | None = None
    #: Other files that the facts depend on.
    beside: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.chain) or self.error is not None or "crl_kind" in self.facts


def failed(kind: ErrorKind, message: str, *, entry: str = "", beside: tuple[str, ...] = ()) -> Contents:
    return Contents(entry=entry, error=LookError(kind=kind, message=one_line(message)), beside=beside)


def one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
