"""The embedded CA, killed at every statement of issuance, revocation and CRL: no certificate that left is unrecorded, no serial number
is given twice, no revocation is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.ca import audit, crl
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
