"""What must not grow with the inventory is found by an index, not by reading through a table."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from certwatch.inventory.reader import SQLiteReader
from certwatch.inventory.store import FindingQuery, Query, Reader
from certwatch.inventory.writer import SQLiteWriter
from certwatch.model.location import LocationURI
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.inventories import Tried, opened, problem

URI = "tls://203.0.113.7:443/"
FIRST, SECOND = make_certificate(), make_certificate(key_number=2)


#: Temporary tables, which hold no more than what is being written.
SCRATCH = re.compile(r"\b(FROM|INTO) (temp\.)?(stopped|retired|gone|forgotten)\b")


def scans_in(connection: sqlite3.Connection, path: Path, call: Callable[[], object]) -> list[str]:
    """The tables that the call's statements read from end to end."""
    ran: list[str] = []
    connection.set_trace_callback(ran.append)
    call()
    connection.set_trace_callback(None)
    found = []
    with closing(sqlite3.connect(path)) as explain:
        for statement in ran:
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")) and not SCRATCH.search(
                statement
            ):
                plan = [row[3] for row in explain.execute("EXPLAIN QUERY PLAN " + statement)]
                found += [f"{line} in {statement}" for line in plan if is_whole(line)]
    return found


def is_whole(line: str) -> bool:
    # Walks of an index in its order, of the few collectors and issuers, and of what an inner statement knows and limits, stop or are short.
    return line.startswith("SCAN") and not any(
        harmless in line
        for harmless in (
            "USING",
            "CONSTANT",
            "json_each",
            "SUBQUERY",
            "SCAN c",
            "SCAN known",
            "SCAN issuers",
            "sqlite_sequence",
        )
    )


READS: dict[str, Callable[[Reader], object]] = {
    "due": lambda reader: reader.due(EPOCH, 10),
    "next due": lambda reader: reader.next_due(),
    "by name": lambda reader: list(reader.list(Query(text="www.example.com"), EPOCH)),
    "below a domain": lambda reader: list(reader.list(Query(text="*.example.com"), EPOCH)),
    "by serial": lambda reader: list(reader.list(Query(text="0a1f0a1f"), EPOCH)),
    "by location": lambda reader: list(reader.list(Query(text=URI), EPOCH)),
    "expiring": lambda reader: list(reader.list(Query(expires_before=EPOCH, limit=10), EPOCH)),
    "of an owner": lambda reader: list(reader.list(Query(owner="payments", limit=10), EPOCH)),
    "of a collector": lambda reader: list(reader.list(Query(collector="edge", limit=10), EPOCH)),
    "of an issuer": lambda reader: list(reader.list(Query(issuer="test", limit=10), EPOCH)),
    "first by date": lambda reader: list(reader.list(Query(limit=10), EPOCH)),
    "by fingerprint": lambda reader: reader.certificate("0a1f", EPOCH),
    "one location": lambda reader: reader.served(LocationURI(URI)),
    "history": lambda reader: reader.history(LocationURI(URI)),
    "open findings": lambda reader: list(reader.open_findings()),
    "findings of one location": lambda reader: list(
        reader.findings(FindingQuery(location=LocationURI(URI), all=True))
    ),
    "last scans": lambda reader: reader.last_scans(),
    "live": lambda reader: list(reader.live()),
}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with opened("sqlite", tmp_path) as tried:
        tried.record(tried.look(URI, FIRST))
        tried.settle(problem())
    return tmp_path


@pytest.mark.parametrize("read", READS)
def test_reading_finds_by_an_index(filled: Path, read: str) -> None:
    with opened("sqlite", filled) as tried:
        assert isinstance(tried.reader, SQLiteReader)
        call = READS[read]
        assert scans_in(tried.reader._connection, filled / "inventory.db", lambda: call(tried.reader)) == []


def test_the_places_of_an_owner_are_found_by_the_owner(filled: Path) -> None:
    with opened("sqlite", filled) as tried, closing(sqlite3.connect(filled / "inventory.db")) as explain:
        assert isinstance(tried.reader, SQLiteReader)
        ran: list[str] = []
        tried.reader._connection.set_trace_callback(ran.append)
        list(tried.reader.list(Query(owner="payments", limit=10), EPOCH))
        asked = [each for each in ran if "j.owner" in each]
        assert asked
        for statement in asked:
            plan = [row[3] for row in explain.execute("EXPLAIN QUERY PLAN " + statement)]
            assert any("judgements_by_owner" in line for line in plan), plan


WRITES: dict[str, Callable[[Tried], object]] = {
    "unchanged": lambda tried: tried.record(tried.look(URI, FIRST)),
    "changed": lambda tried: tried.record(tried.look(URI, SECOND)),
    "new": lambda tried: tried.record(tried.look(URI + "2", SECOND)),
    "settled": lambda tried: tried.settle(problem("weak-key")),
}


@pytest.mark.parametrize("write", WRITES)
def test_writing_finds_by_an_index(filled: Path, write: str) -> None:
    with opened("sqlite", filled) as tried:
        assert isinstance(tried.writer, SQLiteWriter)
        call = WRITES[write]
        assert scans_in(tried.writer._connection, filled / "inventory.db", lambda: call(tried)) == []
