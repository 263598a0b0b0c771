"""Which file the config is, and its text."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from certwatch.config.mistakes import ConfigError, printable

#: Looked for in this order if nothing names one.
USUAL_PLACES = (Path("certwatch.yaml"), Path("/etc/certwatch/certwatch.yaml"))

#: 10,000 targets take a twentieth of this.
MAX_BYTES = 4 << 20


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file named by the caller, by $CERTWATCH_CONFIG, ./certwatch.yaml, /etc/certwatch/certwatch.yaml. None:
    nothing names one and none exists. That a named one exists is for `read_text` to find out."""
    if path is not None:
        return path
    if env.get("CERTWATCH_CONFIG"):
        return Path(env["CERTWATCH_CONFIG"])
    # lexists: a link that leads nowhere is a mistake, not an absent config.
    return next((each for each in USUAL_PLACES if os.path.lexists(each)), None)


def read_text(path: Path) -> str:
    """Raises ConfigError: missing, not readable, a folder, too large, not UTF-8."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{name}: there is no such file. Name another with -c"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{name}: it is a folder. Name the file in it"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from error
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{name}: larger than {MAX_BYTES >> 20} MiB: not a config"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [f"{name}:{line}: not UTF-8 (byte {data[error.start]:#04x}). Save it as UTF-8"]
        ) from error
