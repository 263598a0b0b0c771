"""Certificates to the linter, once each, in the background; what it finds goes to the inventory and to the rules."""

import asyncio
import base64
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from certwatch.engine.writer import WriterThread
from certwatch.inventory.store import InventoryError, Reader, Store, Unlinted
from certwatch.model.lint import Lint
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import LINTED

log = get_logger(__name__)

#: Certificates read and written at once.
PAGE = 100
#: For one certificate. The linter is then killed, and the certificate has no lints.
LINT_SECONDS = 10.0
#: It imports for half a second on a machine that has nothing else to do.
START_SECONDS = 120.0
#: Between two looks for new ones.
EVERY_SECONDS = 15.0
#: After the linter or the inventory failed.
RETRY_SECONDS = 300.0
#: Larger ones are not linted: nothing that is meant to be used is.
MAX_BYTES = 64 << 10

_decoder = msgspec.json.Decoder(list[Lint])


class LinterFailed(Exception):
    """It does not start. The message says why."""


class Linter:
    """Owned by one task."""

    def __init__(self, store: Store, writer: WriterThread, changed: Callable[[], None]) -> None:
        """`changed()`: something was found, and places are due."""
        self._store = store
        self._writer = writer
        self._changed = changed
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lint")
        # Made and used in `_thread` only.
        self._reader: Reader | None = None
        self._process: Process | None = None
        self._version = ""
        #: Set by who knows the rules.
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        try:
            while True:
                await self.wanted.wait()
                try:
                    while self.wanted.is_set() and await self._page():
                        pass
                    wait = EVERY_SECONDS
                except (LinterFailed, InventoryError) as error:
                    log.warning("lint_failed", error=str(error))
                    wait = RETRY_SECONDS
                # It holds 60 MB and has nothing to do.
                await self._end()
                await asyncio.sleep(wait)
        finally:
            await self._end()
            if self._reader is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.close)
            await asyncio.to_thread(self._thread.shutdown)

    async def _page(self) -> int:
        if not self._version:
            await self._start()
        waiting = await asyncio.get_running_loop().run_in_executor(self._thread, self._unlinted)
        if not waiting:
            return 0
        linted: list[tuple[int, Sequence[Lint]]] = []
        for each in waiting:
            found = await self._lint(each.der)
            if found:
                linted.append((each.id, found))
            # Not a breath longer than needed between two, and never two at once: it is for idle moments.
            await asyncio.sleep(0)
        last = waiting[-1].id
        await self._writer.call(
            lambda writer: writer.record_lints(linted, through=last, linter=self._version)
        )
        if linted:
            self._changed()
        return len(waiting)

    def _unlinted(self) -> Sequence[Unlinted]:
        if self._reader is None:
            self._reader = self._store.reader()
        return self._reader.unlinted(PAGE, linter=self._version)

    async def _lint(self, der: bytes) -> list[Lint]:
        """What cannot be linted has no lints."""
        if len(der) > MAX_BYTES:
            LINTED.labels("too-large").inc()
            return []
        if self._process is None:
            await self._start()
        assert self._process is not None and self._process.stdin and self._process.stdout  # noqa: S101
        try:
            async with asyncio.timeout(LINT_SECONDS):
                self._process.stdin.write(base64.b64encode(der) + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
            if not line.endswith(b"\n"):
                raise EOFError("the linter has ended")
            found = _decoder.decode(line)
        except (TimeoutError, OSError, EOFError, RuntimeError, ValueError) as error:
            # RuntimeError: what uvloop says of a pipe that is closed. DecodeError is a ValueError: an answer, that it cannot.
            LINTED.labels("failed").inc()
            log.debug("not_linted", error=repr(error))
            if not isinstance(error, msgspec.DecodeError):
                await self._end()
            return []
        LINTED.labels("found" if found else "clean").inc()
        return found

    async def _start(self) -> None:
        """Raises LinterFailed."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "certwatch.pki.lint_worker",
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                limit=1 << 20,
            )
            assert self._process.stdout  # noqa: S101
            async with asyncio.timeout(START_SECONDS):
                said = await self._process.stdout.readline()
        except (OSError, TimeoutError) as error:
            await self._end()
            raise LinterFailed(f"the linter does not start: {error!r}") from error
        self._version = said.decode().strip()
        if not self._version:
            await self._end()
            raise LinterFailed(
                "the linter does not start. Try: python -m certwatch.pki.lint_worker </dev/null"
            )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        # Reads to the end, so that the pipes are closed.
        await process.communicate()
