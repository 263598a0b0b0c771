"""Values that do not stand in the file: `${NAME}` from the environment, `*_file` from a file. Never shown."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.config.mistakes import Mistake, Path

#: `${NAME}`; with a second dollar in front it stands for itself.
_REFERENCE = re.compile(r"\$(\$)?\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: A secret is a line, a token or a key.
MAX_SECRET_BYTES = 64 * 1024


class Substitution:
    """Puts values from the environment in place, and remembers where: what stands there is told to nobody."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        #: Paths of values that hold something secret.
        self.secret: set[Path] = set()
        self.mistakes: list[Mistake] = []

    def apply(self, value: Any, path: Path, lines: Mapping[Path, int]) -> Any:
        if isinstance(value, str):
            return self._text(value, path, lines)
        if isinstance(value, list):
            return [self.apply(each, (*path, index), lines) for index, each in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.apply(each, (*path, key), lines) for key, each in value.items()}
        return value

    def _text(self, text: str, path: Path, lines: Mapping[Path, int]) -> str:
        if "${" not in text:
            return text

        def put(match: re.Match[str]) -> str:
            escaped, name = match[1], match[2]
            if escaped:
                return match[0][1:]
            message = None
            if not _NAME.fullmatch(name):
                message = (
                    f'"{match[0]}" is not a reference to the environment. Write ${{NAME}}, or $${{ for itself'
                )
            elif name not in self._env:
                message = f"environment variable {name} is not set"
            if message is not None:
                self.mistakes.append(Mistake(line=lines.get(path, 0), path=path, message=message))
                return ""
            self.secret.add(path)
            return self._env[name]

        return _REFERENCE.sub(put, text)

    def is_secret(self, path: Path) -> bool:
        """Whether something secret stands at `path` or below it."""
        return any(each[: len(path)] == path for each in self.secret)


def read_secret(file: str) -> str:
    """The text of a secret file without the newline at its end. Raises ValueError, saying what is wrong."""
    path = os.path.expanduser(file)
    try:
        with open(path, "rb") as opened:
            if stat.S_ISDIR(os.fstat(opened.fileno()).st_mode):
                raise IsADirectoryError(0, "it is a folder")
            data = opened.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"{file} cannot be read: {reason}") from error
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"{file} is larger than {MAX_SECRET_BYTES} bytes: not a secret")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{file} is empty")
    return text


def secret_files(value: Mapping[str, Any], known: frozenset[str], secrets: frozenset[str]) -> Iterator[str]:
    """Of a mapping's keys those `X_file` that stand for a secret `X`, which has no such key of its own."""
    for key in value:
        if key.endswith("_file") and key not in known and key.removesuffix("_file") in secrets:
            yield key
