"""`collect`: configured collectors once, into the inventory, judged."""

import json
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from tests.cli.stage import run, write_config

ROOT = make_ca("Collect Root")
GOOD = make_certificate(issuer=ROOT)
EXPIRED = make_certificate(names=("dns:old.example.com",), issuer=ROOT, not_after=EPOCH.replace(hour=0))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "one/good.pem").write_bytes(GOOD.chain_pem)
    return write_config(
        tmp_path,
        f"trust: {{corp: {tmp_path}/root.pem}}\n"
        "collectors:\n"
        f"  - {{name: one, kind: file, paths: ['{tmp_path}/one/*.pem'], labels: {{owner: web}}}}\n"
        f"  - {{name: two, kind: file, paths: ['{tmp_path}/two/*.pem']}}\n",
    )


def test_all_collectors_run_and_what_they_see_is_kept(config: Path) -> None:
    ran = run("-c", config, "collect")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["COLLECTOR", "STATUS", "LOOKS", "ERRORS"],
        ["one", "complete", "1", "0"],
        ["two", "complete", "0", "0"],
    ]
    (listed,) = json.loads(run("-c", config, "list", "--json").out)["certificates"]
    assert listed["places"][0]["owner"] == "web"


def test_only_those_that_are_named_run(config: Path) -> None:
    scans = json.loads(run("-c", config, "collect", "two", "--json").out)["scans"]
    assert [(each["collector"], each["status"]) for each in scans] == [("two", "complete")]


def test_what_it_finds_decides_the_status(config: Path) -> None:
    (config.parent / "two/old.pem").write_bytes(EXPIRED.chain_pem)
    assert run("-c", config, "collect").status == 1
    assert run("-c", config, "findings", "--rule", "expiry").status == 1
    (config.parent / "two/old.pem").unlink()
    assert run("-c", config, "collect").status == 0
    assert run("-c", config, "findings").status == 0


def test_an_unknown_collector_names_the_nearest(config: Path) -> None:
    ran = run("-c", config, "collect", "ones")
    assert ran.status == 2
    assert 'no collector is named "ones", did you mean "one"?' in ran.err


def test_an_inventory_that_another_writes_is_named(config: Path) -> None:
    writer = open_inventory(f"sqlite://{config.parent}/inventory.db").writer()
    try:
        ran = run("-c", config, "collect")
    finally:
        writer.close()
    assert (ran.status, ran.out) == (3, "")
    assert "is writing it already" in ran.err
