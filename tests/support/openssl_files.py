"""Debian's openssl as a program that writes what people have."""

import subprocess
from pathlib import Path

from tests.support.servers import program


def openssl(*words: str | Path, given: bytes = b"") -> bytes:
    """What it prints. Raises CalledProcessError with what it said."""
    done = subprocess.run(
        [program("openssl", "openssl"), *map(str, words)], input=given, capture_output=True, timeout=15
    )
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(map(str, words))}: {done.stderr.decode(errors='replace')}")
    return done.stdout
