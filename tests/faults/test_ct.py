"""A log of a hundred thousand entries is read without a miss, however often the process is killed."""

import multiprocessing
import multiprocessing.process
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml

from certwatch.cli import main
from certwatch.ct.evidence import PACK, entry_pack, verify_pack
from certwatch.model.sighting import Served
from tests.support.ct_haystack import CONFIG, ENTRIES, HIDDEN, Haystack, haystack
from tests.support.ct_log import Answer, TestLog, log_list, serving
from tests.support.daemon import reading
from tests.support.servers import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(300)]
KILLS = 20


@pytest.fixture
def hay() -> Haystack:
    hay = haystack()
    hay.log.requests.clear()
    hay.log.published, hay.log.published_at = ENTRIES, time.time_ns() // 1_000_000
    return hay


def write_config(folder: Path, *logs: TestLog, static: bool = True) -> Path:
    for each in logs:
        each.speaks = {"static" if static else "rfc6962"}
    entries = [each.list_entry(static=static) for each in logs]
    (folder / "list.json").write_bytes(
        log_list(*([] if static else entries), tiled=entries if static else [])
    )
    collector = {
        "name": "logs",
        "kind": "ct",
        "log_list": str(folder / "list.json"),
        "start": "beginning",
        "contact": "ops@example.com",
        **CONFIG,
    }
    path = folder / "certwatch.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "inventory": f"sqlite://{folder}/inventory.db",
                "collectors": [collector],
                "rules": {"ct-unexpected": {"grace": "0s"}},
            }
        )
    )
    return path


def collecting(config: Path) -> multiprocessing.process.BaseProcess:
    """`certwatch collect logs` in a process of its own. Forked from one that has imported everything: twenty are started."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["certwatch.cli.app", "certwatch.cli.collect", "collectors.ct", "rules.ct"])
    process = server.Process(target=collect, args=(str(config),), daemon=True)
    process.start()
    return process


def collect(config: str) -> None:
    sys.argv = ["certwatch", "-c", config, "collect", "logs"]
    with Path(config).with_name("said").open("ab") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    main()


def ended(process: multiprocessing.process.BaseProcess, folder: Path) -> None:
    process.join(timeout=200)
    # 1: what it found needs action.
    assert process.exitcode in (0, 1), (folder / "said").read_text()


def everything_is_found_once_and_proven(folder: Path, hay: Haystack) -> None:
    with reading(folder / "inventory.db") as reader:
        assert list(reader.check()) == []
        places = list(reader.live())
    found = {int(each.location.uri.rpartition("/")[2]): each for each in places if each.location.kind == "ct"}
    (log,) = (
        each
        for each in places
        if each.location.uri.startswith("ct-log://") and each.location.uri.endswith("/log")
    )
    assert log.facts["ct_size"] == ENTRIES
    assert "ct_faults" not in log.facts
    missed = {index: what for index, what in hay.hidden.items() if index not in found}
    assert missed == {}
    assert sorted(found) == sorted(hay.hidden)
    assert len(found) == HIDDEN
    for index, each in found.items():
        is_proven(each, log, hay.log.leaves[index])


def is_proven(place: Served, log: Served, leaf: bytes) -> None:
    chain = tuple(each.der for each in place.chain)
    files = entry_pack(place.location.uri, chain, place.facts, log.facts)
    assert files["leaf.bin"] == leaf
    assert verify_pack(files[PACK])


@contextmanager
def tarpit() -> Iterator[TestLog]:
    """A log that takes requests and never answers: who reads it does not end by itself."""
    log, is_over = TestLog(name="tarpit", number=51), threading.Event()

    def wait(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        is_over.wait()
        return answer

    log.tamper = wait
    try:
        yield log
    finally:
        is_over.set()


@pytest.mark.parametrize("static", [False, True], ids=["rfc6962", "static"])
def test_two_hundred_hidden_in_a_hundred_thousand_are_found(
    tmp_path: Path, hay: Haystack, static: bool
) -> None:
    with serving(hay.log):
        ended(collecting(write_config(tmp_path, hay.log, static=static)), tmp_path)
    everything_is_found_once_and_proven(tmp_path, hay)


def test_twenty_kills_at_random_instants_lose_nothing(tmp_path: Path, hay: Haystack) -> None:
    """The log grows meanwhile. Replayed by CERTWATCH_SEED."""
    seed = int(os.environ.get("CERTWATCH_SEED") or time.time_ns() % 10**6)
    chance = random.Random(seed)  # noqa: S311
    print(f"CERTWATCH_SEED={seed}")
    size = 0
    with tarpit() as pit, serving(hay.log, pit):
        config = write_config(tmp_path, hay.log, pit)
        for kill in range(1, KILLS + 1):
            hay.log.published = kill * ENTRIES // KILLS // 2
            hay.log.requests.clear()
            process = collecting(config)
            # Of some ten requests that it makes; every third time, when something was written.
            until = chance.randint(1, 10)
            reached = partial(
                lambda until, size: len(hay.log.requests) >= until and read_up_to(tmp_path) >= size,
                until,
                size + 1 if kill % 3 == 0 else 0,
            )
            wait_until(reached, what=f"{until} requests", seconds=60)
            process.join(timeout=chance.random() * 0.6)
            process.kill()
            process.join(timeout=30)
            assert process.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text()
            with reading(tmp_path / "inventory.db") as reader:
                assert list(reader.check()) == []
            assert read_up_to(tmp_path) >= size
            size = read_up_to(tmp_path)
        assert 0 < size < ENTRIES
        hay.log.published = ENTRIES
        ended(collecting(write_config(tmp_path, hay.log)), tmp_path)
    everything_is_found_once_and_proven(tmp_path, hay)
    with reading(tmp_path / "inventory.db") as reader:
        told = Counter(each.location for each in reader.open_findings() if each.rule == "ct-unexpected")
    assert set(told.values()) == {1}


def read_up_to(folder: Path) -> int:
    if not (folder / "inventory.db").exists():
        return 0
    with reading(folder / "inventory.db") as reader:
        served = [each for each in reader.live() if each.location.uri.endswith("/log")]
    return max((int(each.facts.get("ct_size") or 0) for each in served), default=0)
