"""`Reader.check` sees what is wrong: each violation made by hand, and found."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.inventories import TIMEOUT, opened

LIVE, RETIRED, FAILING = "tls://203.0.113.7:443/", "tls://203.0.113.8:443/", "tls://203.0.113.9:443/"
FIRST = make_certificate()
SECOND = make_certificate(not_after=EPOCH + timedelta(days=150))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """One location renewed, one retired, one that never answered."""
    with opened("sqlite", tmp_path) as tried:
        failing = tried.look(FAILING, error=TIMEOUT)
        tried.record(tried.look(LIVE, FIRST), tried.look(RETIRED, FIRST), failing)
        tried.record(tried.look(LIVE, SECOND), failing)
        tried.settle()
    return tmp_path / "inventory.db"


def found(path: Path) -> str:
    reader = open_inventory(f"sqlite://{path}").reader()
    with closing(reader):
        return "\n".join(reader.check())


@pytest.mark.parametrize(
    "damage, said",
    [
        ("UPDATE watches SET stopped_at = NULL", f"{RETIRED} is retired and still watched"),
        ("UPDATE watches SET stopped_at = 1", f"{LIVE} is live and nobody watches it"),
        (
            "UPDATE sightings SET last_seen = NULL, ended_at = NULL WHERE location = 2",
            f"{RETIRED} is retired and has a sighting that lasts",
        ),
        (
            "UPDATE locations SET chain = '[1]' WHERE id = 1",
            f"{LIVE} has a sighting that lasts of what it did not",
        ),
        (
            "UPDATE locations SET chain = '[2, 1]' WHERE id = 1",
            f"{LIVE} shows a chain of which a sighting is miss",
        ),
        (
            "DELETE FROM sightings WHERE ended_at IS NULL",
            f"{LIVE} shows a chain of which a sighting is missing",
        ),
        ("UPDATE looks SET served = NULL", f"{LIVE} has a chain and was never seen to serve one"),
        (
            "UPDATE locations SET chain = '[4711]' WHERE id = 2",
            f"{RETIRED} shows a certificate that is not kept",
        ),
        ("UPDATE locations SET error_kind = NULL", f"{FAILING} fails without an error"),
        (
            "UPDATE locations SET failing_since = NULL",
            f"{FAILING} fails without an error, or serves nothing and",
        ),
        ("UPDATE locations SET first_seen = 1 << 60 WHERE id = 1", f"{LIVE} has instants out of order"),
        ("UPDATE locations SET retired_at = 1 WHERE id = 2", f"{RETIRED} has instants out of order"),
        (
            "UPDATE sightings SET last_seen = 1 WHERE ended_at IS NOT NULL",
            f"{LIVE} has a sighting with instants out",
        ),
        (
            "UPDATE looks SET served = seen + 1 WHERE location = 1",
            f"{LIVE} has a look later served than seen",
        ),
        ("DELETE FROM looks WHERE location = 3", f"{FAILING} is watched and was never looked at"),
        ("DELETE FROM judgements WHERE location = 1", f"{LIVE} cannot be judged"),
        ("DELETE FROM ders WHERE certificate = 1", "is a certificate without its DER"),
        ("UPDATE ders SET der = x'3000' WHERE certificate = 1", "is a certificate whose DER is another"),
        ("INSERT INTO names VALUES ('x', 4711)", "x is a name of a certificate that is not kept"),
        (
            "DELETE FROM sightings WHERE ended_at IS NOT NULL; UPDATE locations SET chain = '[2]' WHERE id = 2",
            "is a certificate that nobody ever saw",
        ),
        (
            "UPDATE meta SET value = value + 1 WHERE key = 'certificates'",
            "certificates is a total that does not hold",
        ),
        ("DELETE FROM meta WHERE key = 'locations'", "locations is a total that does not hold"),
        ("UPDATE scans SET finished_at = NULL", "is a scan both running and finished, or neither"),
        ("UPDATE scans SET finished_at = started_at - 1", "is a scan that ends before it begins"),
        (
            "UPDATE scans SET status = 'running', finished_at = NULL",
            "edge is a collector with two running scans",
        ),
        (
            "INSERT INTO collectors VALUES (2, 'x', 0); UPDATE scans SET collector = 2",
            f"{LIVE} was looked at by a scan of another collector",
        ),
        (
            "INSERT INTO findings VALUES (1, 'r', 0, 1, NULL, 's', 't', 'b', '', 9, 8, NULL)",
            f"{LIVE} has a finding that was resolved before it was opened",
        ),
        (
            "INSERT INTO findings VALUES (1, 'r', 0, 1, NULL, 's', 't', 'b', '', 8, 9, 4711)",
            f"{LIVE} has a finding under a silence that is not kept",
        ),
        ("DELETE FROM locations WHERE id = 3", "names a row of locations that is not there"),
    ],
)
def test_a_violation_is_found(path: Path, damage: str, said: str) -> None:
    assert found(path) == ""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(damage)
    assert said in found(path)


def test_a_location_that_changed_and_is_not_due_cannot_even_be_written(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute("UPDATE judgements SET revision = revision + 1, due_at = NULL")
