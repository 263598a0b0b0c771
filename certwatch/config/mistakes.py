"""What is wrong with a config: every mistake with file, line and key, all of them at once."""

from collections.abc import Iterable
from dataclasses import dataclass

#: Keys and indexes from the top: ("collectors", 2, "every").
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    #: From 1. 0: of the file as a whole.
    line: int
    path: Path
    message: str


class ConfigError(Exception):
    """A config that cannot be used. Each message is one line, "file:line: key: what. what to do", in the order of the
    file; none repeats a secret."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(self.messages))


def config_error(file: str, mistakes: Iterable[Mistake]) -> ConfigError:
    ordered = sorted(dict.fromkeys(mistakes), key=lambda each: each.line)
    return ConfigError(f"{where(file, each.line)}{told(each)}" for each in ordered)


def where(file: str, line: int) -> str:
    return f"{printable(file)}:{line}: " if line else f"{printable(file)}: "


def told(mistake: Mistake) -> str:
    key = key_text(mistake.path)
    return printable(f"{key}: {mistake.message}" if key else mistake.message)


def key_text(path: Path) -> str:
    """As people write it: `collectors[2].labels.team`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("-", "").replace("_", "").isalnum()
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text


def printable(text: str) -> str:
    """One line for a terminal: control and bidirectional characters become escapes, endless text is cut."""
    text = "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode()
        for each in text[:2000]
    )
    return text if len(text) <= 500 else text[:497] + "…"
