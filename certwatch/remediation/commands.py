"""Commands of the config: never through a shell, bounded; many who want the same one share it."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

MOST_OUTPUT = 4096


class CommandFailed(Exception):
    """The message has the command, its status, and the end of what it said."""


async def run_command(words: Sequence[str], seconds: float, *, stdin: bytes = b"") -> bytes:
    """What it printed. Raises CommandFailed."""
    shown = " ".join(words)[:200]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{shown}: cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(stdin or None)
    except TimeoutError as error:
        raise CommandFailed(f"{shown}: not done within {seconds:g} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        said = output[-MOST_OUTPUT:].decode("utf-8", "backslashreplace").strip()
        raise CommandFailed(f"{shown}: ended with {process.returncode}: {said[-500:]}")
    return output


class Shared:
    """One command that many want to have run: those who ask while it runs share the next run. Belongs to the event loop."""

    def __init__(self, words: Sequence[str], seconds: float) -> None:
        self._words = tuple(words)
        self._seconds = seconds
        self._next: asyncio.Task[None] | None = None
        self._running = asyncio.Lock()

    async def run(self) -> None:
        """Once, begun after this was called. Raises CommandFailed."""
        if self._next is None:
            self._next = asyncio.create_task(self._turn())
        await asyncio.shield(self._next)

    async def _turn(self) -> None:
        async with self._running:
            # From here on, what is asked for may have come too late for this run.
            self._next = None
            await run_command(self._words, self._seconds)
