"""The file collector over 100,000 certificate files of which none has changed."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import cast

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, make_certificate
from collectors.file import FileCollector, FileConfig
from tests.bench.result import Result

FILES = 100_000
A_FOLDER = 1_000
SCANS = 3


async def _scan(collector: FileCollector) -> float:
    began = time.perf_counter()
    seen = 0
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
    async with aclosing(stream):
        async for each in stream:
            seen += isinstance(each, Observation) and bool(each.chain)
    if seen != FILES:
        raise RuntimeError(f"{seen} of {FILES} files")
    return time.perf_counter() - began


def _stats(collector: FileCollector) -> float:
    """Calls of os.stat a file, of one scan."""
    calls = 0
    real = os.stat

    def counting(*arguments: object, **named: object) -> os.stat_result:
        nonlocal calls
        calls += 1
        return real(*arguments, **named)  # type: ignore[arg-type]

    os.stat = counting
    try:
        asyncio.run(_scan(collector))
    finally:
        os.stat = real
    return calls / FILES


def run() -> list[Result]:
    # Ten different ones: what is in them does not matter to a scan that does not read them.
    pems = [make_certificate(names=[f"dns:{number}.example.com"]).pem for number in range(10)]
    with tempfile.TemporaryDirectory() as name:
        for number in range(FILES):
            folder = Path(name, f"{number // A_FOLDER:03}")
            if number % A_FOLDER == 0:
                folder.mkdir()
            (folder / f"site-{number % A_FOLDER:03}.pem").write_bytes(pems[number % 10])
        # Folders that have just changed are not relied upon.
        for folder in Path(name).iterdir():
            os.utime(folder, (1, 1))
        collector = FileCollector("bench", FileConfig(paths=(name,)), CollectorContext(clock=FakeClock()))
        first = asyncio.run(_scan(collector))
        again = min(asyncio.run(_scan(collector)) for _ in range(SCANS))
        stats = _stats(collector)
    return [
        Result(
            what="files: 100,000 unchanged PEM files, next scan",
            measured=again,
            unit="s",
            target=2.0,
            how=f"fastest of {SCANS}, in {FILES // A_FOLDER} folders; the first scan took {first:.1f} s",
        ),
        Result(
            what="files: stat calls an unchanged file",
            measured=stats,
            unit="",
            target=1.01,
            how="counted over one scan, those of folders included",
        ),
    ]
