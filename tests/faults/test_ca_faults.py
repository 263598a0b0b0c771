"""The embedded CA, killed at every statement of issuance, revocation and CRL: no certificate that left is unrecorded, no serial number
is given twice, no revocation is lost."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.ca import audit, crl
from certwatch.ca.failure import CAError
from certwatch.plugins.testing import FakeClock
from tests.support.cas import authority, issued

pytestmark = pytest.mark.faults


@pytest.mark.timeout(300)
def test_killed_at_any_statement_nothing_that_left_is_unrecorded_and_no_revocation_is_lost(
    tmp_path: Path,
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with authority(base) as ca:
        before = issued(ca)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed_ca", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    statements, status = map(int, done.stdout.split())
    assert status == 0, done.stderr
    assert statements > 40
    clock = FakeClock()
    clock.advance(minutes=1)
    seen = set()
    for last in range(1, statements + 1):
        folder = tmp_path / str(last)
        left = [line.split() for line in (folder / "left").read_text().splitlines()]
        with authority(folder, clock) as ca:
            rows = {
                serial.hex(): (state, revoked)
                for serial, state, revoked in ca.rows("SELECT serial, state, revoked FROM certificates")
            }
            for what, serial in left:
                state, revoked = rows[serial]
                assert state == "issued", (last, serial)
                if what == "revoked":
                    assert revoked is not None, (last, serial)
            # What may have been signed and never left is revoked.
            assert all(state == "issued" or revoked is not None for state, revoked in rows.values()), (
                last,
                rows,
            )
            # The daemon's round, or the next one who asks, publishes it.
            crl.refresh(ca)
            listed = x509.load_der_x509_crl(crl.current(ca, ca.issuer(), 0))
            on_it = {f"{each.serial_number:032x}" for each in listed}
            assert on_it == {serial for serial, (_, revoked) in rows.items() if revoked is not None}, last
            assert audit.verify(ca.settings.directory).wrong == [], last
            issued(ca)
            assert before.serial in rows
            seen.add((len(left), sum(state == "lost" for state, _ in rows.values())))
    # It was killed in each of the places that differ.
    assert {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0)} <= seen


def test_a_full_disk_keeps_nothing_of_the_step_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        kept = issued(ca)
        (pages,) = ca.connection.execute("PRAGMA page_count").fetchone()
        ca.connection.execute(f"PRAGMA max_page_count = {pages}")
        before = ca.ledger.size
        with pytest.raises(CAError) as raised:
            for number in range(100):
                issued(ca, f"dns:h{number}.example.com")
        assert raised.value.kind == "full"
        assert audit.verify(ca.settings.directory).wrong == []
        ca.connection.execute("PRAGMA max_page_count = 1000000")
        # One whose entry could not be written, as if the disk had been full then.
        with ca.act() as act:
            act.connection.execute(
                "UPDATE certificates SET state = 'intended', der = NULL WHERE serial = ?",
                (bytes.fromhex(kept.serial),),
            )
        assert issued(ca).serial
        assert ca.ledger.size > before
        # It may have been signed, and is revoked without a restart.
        [(state, revoked)] = ca.rows(
            "SELECT state, revoked FROM certificates WHERE serial = ?", bytes.fromhex(kept.serial)
        )
        assert (state, revoked is not None) == ("lost", True)


def test_a_database_that_another_program_holds_is_said_and_signs_nothing(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        ca.connection.execute("PRAGMA busy_timeout = 0")
        before = ca.ledger.size
        with closing(sqlite3.connect(tmp_path / "ca" / "ca.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CAError) as raised:
                issued(ca)
            assert raised.value.kind == "locked"
            other.execute("ROLLBACK")
        assert ca.ledger.size == before
        assert issued(ca).serial
        assert audit.verify(ca.settings.directory).wrong == []
