"""Logs in a process of their own, so that what they cost is not counted, and what a reader costs."""

import asyncio
import copy
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from certwatch.ct.leaves import leaf_index_extension, make_leaf
from tests.ct.odd_names import certificate, dns, extension, san
from tests.support.ct_log import BEGIN_MS, TestLog, serving

#: Of what a certificate has beside its names: key identifiers, policies, URLs, timestamps.
REST = 700
#: Seconds from one scan to the next, where there are several.
ROUND = 12


def build(entries: int, *, static: bool) -> TestLog:
    """Certificates of some 1,100 bytes, each beside a chain of two, as they are on average."""
    chance = random.Random(1)  # noqa: S311
    log = TestLog(indexed=static)
    log.speaks = {"static" if static else "rfc6962"}
    issuers = [certificate(extension(b"\x55\x1d\x0e", chance.randbytes(900)), serial=each) for each in (1, 2)]
    chain = b"".join(len(each).to_bytes(3, "big") + each for each in issuers)
    extra = len(chain).to_bytes(3, "big") + chain
    rest = (64).to_bytes(2, "big") + bytes(64)
    filling = [extension(b"\x55\x1d\x0e", chance.randbytes(REST)) for _ in range(64)]
    for index in range(entries):
        names = [dns(f"{word}.host{index}.unrelated{index % 997}.net") for word in ("www", "mail")]
        data = certificate(filling[index % 64], san(*names), serial=index + 1)
        leaf = make_leaf(data, BEGIN_MS + index, extensions=leaf_index_extension(index) if static else b"")
        log.append(leaf, extra, rest)
    log.publish(at=time.time_ns() // 1_000_000)
    return log


def _serve(there: Connection, entries: int, static: bool, copies: int, growth: float) -> None:
    """`growth`: entries a second of all copies together; none: all is there from the first moment."""
    log = build(entries, static=static)
    logs = []
    for number in range(copies):
        each = copy.copy(log)
        each.name, each.lock, each.requests = f"log{number}", threading.RLock(), []
        if growth:
            each.published = entries // 2 + number
        logs.append(each)
    is_over = threading.Event()

    def grow() -> None:
        while not is_over.wait(1):
            for each in logs:
                each.published = min(entries, each.published + round(growth / copies))
                each.published_at = time.time_ns() // 1_000_000

    with serving(*logs):
        if growth:
            threading.Thread(target=grow, daemon=True).start()
        there.send([each.list_entry(static=static) for each in logs])
        there.recv()
        is_over.set()


@contextmanager
def served(
    entries: int, *, static: bool, copies: int = 1, growth: float = 0
) -> Iterator[list[dict[str, Any]]]:
    """As a log list has each."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(there, entries, static, copies, growth), daemon=True
    )
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join(30)


def read(entries: Sequence[dict[str, Any]], *, static: bool, **config: Any) -> dict[str, float]:
    """What one scan costs, in a process of its own: CPU seconds, entries, largest memory in bytes. `rounds`: so many scans after a
    first one, `ROUND` seconds apart, and what they cost together."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "list.json")
        path.write_text(json.dumps({"operators": [{"name": "Bench", "logs": [] if static else list(entries), "tiled_logs": list(entries) if static else []}]}))  # fmt: skip
        names = Path(name, "names")
        names.write_text("\n".join(config.pop("domains")))
        keys = {
            "log_list": str(path),
            "domains_file": str(names),
            "start": "beginning",
            "contact": "a@example.com",
        } | config
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.ct_stage"],
            input=json.dumps(keys),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=300,
        )
    return dict(json.loads(done.stdout))


def _largest_memory() -> int:
    """Not `ru_maxrss`: that begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _count(fact: object) -> int:
    return fact if isinstance(fact, int) else 0


async def _read(keys: dict[str, Any]) -> dict[str, float]:
    from datetime import UTC, datetime

    from certwatch.model.observation import Observation
    from certwatch.plugins.collector import CollectorContext
    from collectors.ct import CTCollector
    from tests.support.ct_view import Memory

    memory, rounds = Memory(), keys.pop("rounds", 0)
    context = CollectorContext(clock=lambda: datetime.now(UTC), view=memory)
    collector = CTCollector("bench", CTCollector.Config.model_validate(keys), context)

    async def once() -> int:
        async for each in collector.collect():
            if isinstance(each, Observation):
                memory.record(each)
        logs = [each for each in memory.kept.values() if each.location.startswith("ct-log:")]
        return sum(_count(each.facts["ct_size"]) - _count(each.facts["ct_start"]) for each in logs)

    before = await once() if rounds else 0
    cpu, wall, read = time.process_time(), time.perf_counter(), 0
    for number in range(max(1, rounds)):
        if rounds:
            await asyncio.sleep(max(0.0, wall + (number + 1) * ROUND - time.perf_counter()))
        read = await once()
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "entries": read - before,
        "memory": _largest_memory(),
    }


if __name__ == "__main__":
    import uvloop

    json.dump(uvloop.run(_read(json.load(sys.stdin))), sys.stdout)
