"""The spool: what was taken is given until it is acknowledged, whatever happens to process and disk."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.events.spool import LEAST_BYTES, SEGMENTS, Spool, SpoolError


class Lost:
    def __init__(self) -> None:
        self.said: dict[str, int] = {}

    def __call__(self, reason: str, count: int) -> None:
        self.said[reason] = self.said.get(reason, 0) + count


@contextmanager
def spool(folder: Path | None, lost: Lost | None = None, *, max_bytes: int = 1 << 20) -> Iterator[Spool]:
    opened = Spool(folder, max_bytes=max_bytes, lost=lost or Lost())
    opened.open()
    try:
        yield opened
    finally:
        opened.close()


def drain(held: Spool, most: int = 7) -> list[bytes]:
    found: list[bytes] = []
    while (batch := held.read(most=most, most_bytes=1 << 20)).records:
        found += batch.records
        held.acknowledge(batch, len(batch.records))
    return found


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b'{"n":%d}' % number for number in range(start, start + count)]


def test_what_goes_in_comes_out_in_order_and_leaves_no_file(tmp_path: Path) -> None:
    with spool(tmp_path / "s") as held:
        assert held.append(numbered(50)) is None
        assert drain(held) == numbered(50)
        assert held.waiting_bytes == 0
    assert not list((tmp_path / "s").glob("*.log"))


def test_what_is_not_acknowledged_comes_again_after_a_restart(tmp_path: Path) -> None:
    with spool(tmp_path) as held:
        held.append(numbered(10))
        batch = held.read(most=6, most_bytes=1 << 20)
        held.acknowledge(batch, 4)
    with spool(tmp_path) as held:
        held.append(numbered(3, 10))
        assert drain(held) == numbered(9, 4)


def test_a_killed_process_loses_nothing_that_was_taken(tmp_path: Path) -> None:
    """`append` has returned, then SIGKILL: no close, no flush."""
    code = (
        "import os, signal, sys; from pathlib import Path; from exporters.events.spool import Spool\n"
        "s = Spool(Path(sys.argv[1]), max_bytes=1 << 20, lost=print); s.open()\n"
        "s.append([b'{\"n\":%d}' % n for n in range(100)])\n"
        "b = s.read(most=10, most_bytes=1 << 20); s.acknowledge(b, 10)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL
    with spool(tmp_path) as held:
        assert drain(held) == numbered(90, 10)


def test_a_half_line_of_a_crash_is_taken_back(tmp_path: Path) -> None:
    with spool(tmp_path) as held:
        held.append(numbered(2))
    (segment,) = tmp_path.glob("*.log")
    with segment.open("ab") as file:
        file.write(b'12345678 {"n":')
    lost = Lost()
    with spool(tmp_path, lost) as held:
        held.append(numbered(1, 2))
        assert drain(held) == numbered(3)
    assert lost.said == {}


def test_damage_is_counted_and_what_stands_beside_it_is_delivered(tmp_path: Path) -> None:
    with spool(tmp_path) as held:
        held.append(numbered(3))
    (segment,) = tmp_path.glob("*.log")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0] + b"\0" * (len(lines[1]) - 1) + b"\n" + lines[2])
    lost = Lost()
    with spool(tmp_path, lost) as held:
        assert drain(held, most=100) == [b'{"n":0}', b'{"n":2}']
    assert lost.said == {"damaged": 1}


def test_beyond_its_bound_the_oldest_are_dropped_and_counted(tmp_path: Path) -> None:
    lost = Lost()
    records = [b'{"n":%06d,"x":"%b"}' % (number, b"x" * 80) for number in range(1300)]
    with spool(tmp_path, lost, max_bytes=LEAST_BYTES) as held:
        for start in range(0, len(records), 100):
            held.append(records[start : start + 100])
        on_disk = sum(each.stat().st_size for each in tmp_path.glob("*.log"))
        assert on_disk <= LEAST_BYTES + LEAST_BYTES // SEGMENTS
        kept = drain(held)
    assert kept == records[-len(kept) :]
    assert lost.said == {"full": len(records) - len(kept)}
    assert len(kept) * 110 > LEAST_BYTES * 0.8


def test_what_was_dropped_while_it_was_being_sent_does_not_take_others_with_it(tmp_path: Path) -> None:
    records = [b'{"n":%06d,"x":"%b"}' % (number, b"x" * 80) for number in range(1300)]
    with spool(tmp_path, max_bytes=LEAST_BYTES) as held:
        held.append(records[:10])
        batch = held.read(most=10, most_bytes=1 << 20)
        held.append(records[10:])
        held.acknowledge(batch, 10)
        kept = drain(held)
    assert kept == records[-len(kept) :]


def test_two_processes_do_not_share_one(tmp_path: Path) -> None:
    with spool(tmp_path), pytest.raises(SpoolError, match="in use by another certwatch"):
        Spool(tmp_path, max_bytes=1 << 20, lost=Lost()).open()


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="Set spool to a folder that may be written"):
        Spool(tmp_path / "file" / "s", max_bytes=1 << 20, lost=Lost()).open()


def test_while_the_disk_is_full_memory_holds_them_and_order_is_kept(tmp_path: Path) -> None:
    """A file size limit refuses a write exactly as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with spool(tmp_path) as held:
        assert held.append(numbered(5)) is None
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            error = held.append(numbered(20, 5))
            assert error is not None and error.errno in (errno.ENOSPC, errno.EFBIG)
            first = held.read(most=100, most_bytes=1 << 20)
            assert list(first.records) == numbered(5)
            held.acknowledge(first, 5)
            lent = held.read(most=8, most_bytes=1 << 20)
            assert list(lent.records) == numbered(8, 5)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        # The disk takes them now, also those that are just being delivered.
        assert held.append(numbered(5, 25)) is None
        held.acknowledge(lent, 8)
        assert drain(held) == numbered(17, 13)


def test_without_a_folder_it_is_a_queue_in_memory() -> None:
    with spool(None) as held:
        held.append(numbered(20))
        assert drain(held) == numbered(20)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["append", "deliver", "part", "restart"]), st.integers(0, 30))))
def test_any_order_of_calls_gives_each_record_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    waiting: deque[bytes] = deque()
    number = 0
    held = Spool(folder, max_bytes=1 << 24, lost=Lost())
    held._segment_bytes = 100  # many segments with few records
    held.open()
    for action, count in steps:
        if action == "append":
            records = numbered(count, number)
            number += count
            waiting.extend(records)
            assert held.append(records) is None
        elif action == "restart":
            held.close()
            held = Spool(folder, max_bytes=1 << 24, lost=Lost())
            held._segment_bytes = 100
            held.open()
        else:
            batch = held.read(most=max(1, count), most_bytes=64)
            taken = len(batch.records) if action == "deliver" else len(batch.records) // 2
            assert list(batch.records) == [waiting[index] for index in range(len(batch.records))]
            assert batch.records or not waiting
            held.acknowledge(batch, taken)
            for _ in range(taken):
                waiting.popleft()
    assert drain(held) == list(waiting)
    held.close()


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=30))
def test_whatever_stands_in_its_folder_it_opens_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, segment: bytes, position: bytes
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    (folder / "0000000003.log").write_bytes(segment)
    (folder / "position").write_bytes(position)
    with spool(folder) as held:
        held.append([b"{}"])
        assert drain(held)[-1] == b"{}"
    assert os.listdir(folder)
