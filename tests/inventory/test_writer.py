"""The writer's transactions: durable where promised, undone as a whole, counted when they fail."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import InventoryError
from certwatch.inventory.writer import SQLiteWriter
from certwatch.model.observation import ScanID
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.telemetry.metrics import REGISTRY
from tests.support.inventories import opened

URI = "tls://203.0.113.7:443/"


def test_the_end_of_a_scan_is_on_disk_when_it_is_told(tmp_path: Path) -> None:
    # synchronous=NORMAL would let a power failure take the last commits; FULL syncs the log, and all before it.
    with opened("sqlite", tmp_path) as tried:
        assert isinstance(tried.writer, SQLiteWriter)
        scan = tried.writer.begin_scan("edge", tried.clock())
        ran: list[str] = []
        tried.writer._connection.set_trace_callback(ran.append)
        tried.writer.record(scan, [tried.look(URI, make_certificate())], {})
        assert not any("synchronous" in statement for statement in ran)
        tried.writer.finish_scan(scan, [], tried.clock())
        around = [each for each in ran if each.startswith(("PRAGMA", "BEGIN", "COMMIT"))][-4:]
        assert around == [
            "PRAGMA synchronous = FULL",
            "BEGIN IMMEDIATE",
            "COMMIT",
            "PRAGMA synchronous = NORMAL",
        ]
        assert tried.writer._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_failed_write_is_counted_by_its_kind(tmp_path: Path) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("certwatch_inventory_write_failures_total", {"reason": "other"}) or 0

    with opened("sqlite", tmp_path) as tried:
        before = count()
        with pytest.raises(InventoryError):
            tried.writer.finish_scan(ScanID(4711), [], tried.clock())
        assert count() == before + 1


def test_what_breaks_in_the_middle_leaves_nothing_and_the_writer_goes_on(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        naive = EPOCH.replace(tzinfo=None)
        with pytest.raises(TypeError):
            tried.writer.begin_scan("edge", naive)
        tried.record(tried.look(URI, make_certificate()))
        assert len(tried.reader.last_scans()) == 1


def test_readers_in_other_threads_see_whole_steps_while_the_writer_writes(tmp_path: Path) -> None:
    certificates = [make_certificate(key_number=number) for number in (1, 2)]
    uris = [f"tls://198.51.100.{n}:443/" for n in range(100)]
    with opened("sqlite", tmp_path) as tried:
        tried.record(*[tried.look(uri, certificates[0]) for uri in uris])
        stop, mixed, errors = threading.Event(), list[int](), list[Exception]()

        def read() -> None:
            reader = tried.store.reader()
            try:
                while not stop.is_set():
                    leaves = {served.leaf.fingerprint_sha256 for served in reader.live() if served.leaf}
                    mixed.append(len(leaves))
            except InventoryError as error:
                errors.append(error)
            finally:
                reader.close()

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(1, 25):
            tried.clock.now = EPOCH + timedelta(minutes=turn)
            tried.record(*[tried.look(uri, certificates[turn % 2]) for uri in uris])
        stop.set()
        for thread in threads:
            thread.join(10)
    assert errors == []
    assert set(mixed) == {1}, "one batch is one step"
