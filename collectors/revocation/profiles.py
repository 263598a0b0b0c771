"""CRLs and OCSP answers to the linter, each content once: in a process of its own, which lives as long as there is work."""

import asyncio
import base64
import hashlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from typing import Literal

from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: Larger ones are not linted. A CRL is given without its entries but one.
MAX_BYTES = 64 << 10
#: For one, and for the linter's start on a busy machine.
LINT_SECONDS, START_SECONDS = 60.0, 120.0
#: Contents whose lints are remembered.
MOST = 10_000
#: Codes that are told.
SHOWN = 5


class Profiles:
    """Owned by one collector; several may ask at once."""

    def __init__(self, *, wanted: bool = True) -> None:
        self._wanted = wanted
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        # The linter does not start: not tried again before the next scan.
        self._broken = False

    async def codes(self, kind: Literal["crl", "ocsp"], der: bytes) -> str:
        """What of the format it breaks, as the linter names it, with commas between. Empty: nothing, or it cannot be
        linted."""
        if not self._wanted or len(der) > MAX_BYTES:
            return ""
        digest = hashlib.sha256(der).digest()
        async with self._turn:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
            said = await self._ask(kind, der)
            if said is None:
                return ""
            self._known[digest] = text = ", ".join(said[:SHOWN])
            if len(self._known) > MOST:
                self._known.popitem(last=False)
            return text

    async def _ask(self, kind: str, der: bytes) -> list[str] | None:
        """None: it does not answer."""
        if self._broken:
            return None
        try:
            process = self._process or await self._start()
            assert process.stdin and process.stdout  # noqa: S101
            async with asyncio.timeout(LINT_SECONDS):
                process.stdin.write(kind.encode() + b":" + base64.b64encode(der) + b"\n")
                await process.stdin.drain()
                said = json.loads(await process.stdout.readline())
        except (TimeoutError, OSError, RuntimeError, ValueError) as error:
            # RuntimeError: what uvloop says of a pipe that is closed. ValueError: an end in the place of an answer.
            log.debug("statement_not_linted", kind=kind, error=repr(error))
            await self.end()
            return None
        # What cannot be parsed has an object with its error.
        return [str(each) for each in said] if isinstance(said, list) else []

    async def _start(self) -> Process:
        """Raises OSError, TimeoutError."""
        words = (sys.executable, "-m", "certwatch.pki.lint_worker")
        self._broken = True
        process = self._process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=1 << 20
        )
        assert process.stdout  # noqa: S101
        async with asyncio.timeout(START_SECONDS):
            if not await process.stdout.readline():
                raise OSError("the linter does not start")
        self._broken = False
        return process

    async def end(self) -> None:
        """It has nothing to do, and holds 60 MB."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        # Reads to the end, so that the pipes are closed.
        await process.communicate()

    async def scan_ended(self) -> None:
        self._broken = False
        await self.end()
