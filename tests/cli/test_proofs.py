"""What counts as proven: a restore in a trial, and what the record of it is worth."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.plugins.testing import EPOCH, FakeClock
from tests.cli.stage import Ran, fill, run, write_config
from tests.support.cas import authority


def verdict(ran: Ran, what: str) -> tuple[str, str]:
    [found] = [each for each in json.loads(ran.out)["proofs"] if each["what"] == what]
    return found["verdict"], found["said"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    fill(tmp_path)
    return write_config(tmp_path)


def test_a_backup_that_was_restored_in_a_trial_is_proven_for_a_quarter(tmp_path: Path, config: Path) -> None:
    before = (tmp_path / "inventory.db").read_bytes()
    clock = FakeClock(EPOCH + timedelta(hours=1))
    asked = ("doctor", "--readiness", "--json", "-c", config)
    assert verdict(run(*asked, clock=clock), "backup restored")[0] == "not proven"
    assert run("backup", tmp_path / "copy.db", "-c", config).status == 0
    tried = run("restore", tmp_path / "copy.db", "--trial", "-c", config, clock=clock)
    assert (tried.status, "restored in a trial and read: " in tried.out) == (0, True), tried.err
    # The inventory itself is left alone, and nothing lies about.
    assert (tmp_path / "inventory.db").read_bytes() == before
    found, said = verdict(run(*asked, clock=clock), "backup restored")
    assert (found, "certificates, up to " in said) == ("proven", True), said
    clock.advance(days=93)
    assert verdict(run(*asked, clock=clock), "backup restored")[0] == "not proven"


def test_a_backup_that_was_old_when_it_was_tried_disproves(tmp_path: Path, config: Path) -> None:
    clock = FakeClock(EPOCH + timedelta(days=30))
    run("backup", tmp_path / "copy.db", "-c", config)
    assert run("restore", tmp_path / "copy.db", "--trial", "-c", config, clock=clock).status == 0
    found, said = verdict(
        run("doctor", "--readiness", "--json", "-c", config, clock=clock), "backup restored"
    )
    assert (found, "not made often enough" in said) == ("disproven", True)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_backup_proves_nothing(tmp_path: Path, config: Path, damage: str) -> None:
    copy = tmp_path / "copy.db"
    run("backup", copy, "-c", config)
    data = copy.read_bytes()
    copy.write_bytes({"cut": data[: len(data) // 2], "text": b"no database" * 900, "empty": b""}[damage])
    ran = run("restore", copy, "--trial", "-c", config)
    assert ran.status == 3
    assert "Traceback" not in ran.err
    assert not (tmp_path / "proofs.ndjson").exists()


def test_a_record_that_is_damaged_proves_nothing_and_stops_nobody(tmp_path: Path, config: Path) -> None:
    clock = FakeClock(EPOCH + timedelta(hours=1))
    (tmp_path / "proofs.ndjson").write_bytes(
        b'{"kind": "restored"}\n[1]\n\xff\xfe\n{"kind": "restored", "at": "2026-11-01T00:00:00", "by": "a", "about": {}}\n'
        + b"[" * 100_000
        + b'\n{"kind": "restored", "at": "2026-'
    )
    asked = ("doctor", "--readiness", "--json", "-c", config)
    assert verdict(run(*asked, clock=clock), "backup restored")[0] == "not proven"
    run("backup", tmp_path / "copy.db", "-c", config)
    run("restore", tmp_path / "copy.db", "--trial", "-c", config, clock=clock)
    assert verdict(run(*asked, clock=clock), "backup restored")[0] == "proven"


def test_without_an_alertmanager_no_page_can_be_tried(tmp_path: Path, config: Path) -> None:
    ran = run("page", "test", "-c", config)
    assert (ran.status, "no exporter of kind alertmanager" in ran.err) == (2, True)
    found, said = verdict(run("doctor", "--readiness", "--json", "-c", config), "pages arrive")
    assert (found, "pages nobody by itself" in said) == ("not proven", True)


def test_a_ledger_that_nobody_takes_is_not_shipped(tmp_path: Path) -> None:
    fill(tmp_path)
    keys = f"ca: {{directory: {tmp_path}/ca, key_file: {tmp_path}/ca.key, key_passphrase: a secret of a test, lint: false}}\n"
    config = write_config(tmp_path, keys)
    with authority(tmp_path) as ca:
        entries = ca.ledger.size
    what = "ledger is shipped"

    def asked() -> tuple[str, str]:
        return verdict(run("doctor", "--readiness", "--json", "-c", config), what)

    assert asked() == ("not proven", "no exporter takes its entries. Configure one of kind events")
    write_config(tmp_path, f"{keys}exporters: [{{kind: events, path: {tmp_path}/events}}]\n")
    assert asked()[1].startswith(f"{entries} of {entries} entries were not taken")
    with authority(tmp_path) as ca, ca.act() as act:
        act.connection.execute("INSERT INTO meta VALUES ('told', ?)", (entries,))
    assert asked() == ("proven", f"the exporters have taken all {entries} entries")
