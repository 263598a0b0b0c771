"""Commands of the config: never through a shell, bounded; many who want the same one share it."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from certwatch.remediation.gate import Gate

MOST_OUTPUT = 1 << 20
#: Of what it printed, in a message.
SHOWN_OUTPUT = 500
KILL_SECONDS = 5.0


class CommandFailed(Exception):
    """The message has the command, its status, and the end of what it said."""


async def run_command(
    words: Sequence[str], seconds: float, *, stdin: bytes = b"", secrets: Sequence[bytes] = ()
) -> bytes:
    """What it printed. `secrets` are left out of messages. Raises CommandFailed."""
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
            output = await _talk(process, stdin)
            if len(output) > MOST_OUTPUT:
                raise CommandFailed(f"{shown}: printed more than {MOST_OUTPUT} bytes")
            await process.wait()
    except TimeoutError as error:
        raise CommandFailed(f"{shown}: not done within {seconds:g} s") from error
    finally:
        if process.returncode is None:
            await _kill(process)
    if process.returncode:
        for each in secrets:
            output = output.replace(each, b"(secret)")
        said = output[-SHOWN_OUTPUT:].decode("utf-8", "backslashreplace").strip()
        raise CommandFailed(f"{shown}: ended with {process.returncode}: {said}")
    return output


async def _talk(process: asyncio.subprocess.Process, stdin: bytes) -> bytes:
    """What it prints, up to a byte more than is allowed."""
    if process.stdin is not None:
        # One that ends without reading is judged by its end alone. RuntimeError: uvloop's word for a pipe that is closed.
        with suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            process.stdin.write(stdin)
            await process.stdin.drain()
            process.stdin.close()
    found = bytearray()
    assert process.stdout is not None  # noqa: S101
    while len(found) <= MOST_OUTPUT and (chunk := await process.stdout.read(1 << 16)):
        found += chunk
    return bytes(found)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # Its pipes are closed then, unless something that left its group has them still.
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            await process.communicate()


class Shared:
    """One command that many want to have run: those who ask while it runs share the next run. Belongs to the event loop."""

    def __init__(self, words: Sequence[str], seconds: float, gate: Gate) -> None:
        self._words = tuple(words)
        self._seconds = seconds
        self._gate = gate
        self._next: asyncio.Task[None] | None = None
        self._running = asyncio.Lock()

    async def run(self) -> None:
        """Once, begun after this was called. Raises CommandFailed."""
        if self._next is None:
            self._next = asyncio.create_task(self._turn())
        await asyncio.shield(self._next)

    async def _turn(self) -> None:
        async with self._running, self._gate.taking_up():
            # From here on, what is asked for may have come too late for this run.
            self._next = None
            await run_command(self._words, self._seconds)
