"""What remediation has had issued is expected where CT logs show it, whatever became of it."""

from pathlib import Path

import pytest

from certwatch.config.load import load
from certwatch.inventory.store import InventoryError
from certwatch.plugins.testing import make_certificate
from certwatch.remediation.material import split_pem
from certwatch.remediation.opening import expect
from certwatch.x509.der import read
from tests.remediation.stage import stage
from tests.support.inventories import opened

CT = """
collectors:
  - {name: logs, kind: ct, domains: [".example.com"], log_list: /etc/list.json}
"""


@pytest.mark.anyio
async def test_what_is_issued_is_expected_also_when_it_is_rolled_back(tmp_path: Path) -> None:
    with stage(tmp_path, servers=2) as it:
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        plan = it.plan()
        done = await it.carry_out(plan)
        assert done.state == "rolled-back"
        issued = [split_pem(each)[0] for each in it.issuer.issued]
        assert [each.der for each, _ in it.expected] == issued
        assert it.expected[0][1] == f"issued for plan {plan.id} of the policy web"


@pytest.mark.parametrize("text", [CT, ""])
def test_it_is_marked_as_by_hand_where_logs_are_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "certwatch.yaml"
    with opened("sqlite", tmp_path) as tried:
        path.write_text(f"inventory: sqlite://{tmp_path}/inventory.db\n{text}")
        leaf = read(make_certificate().der)
        expect(load(path, env={}), tried.store.mark, tried.clock, leaf, "issued for plan 7")
        marks = list(tried.reader.marks())
        assert [(each.kind, each.author, each.reason) for each in marks] == (
            [("authorised", "certwatch", "issued for plan 7")] if text else []
        )


def test_an_inventory_that_cannot_be_written_stops_no_roll_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(new: object) -> None:
        raise InventoryError("full", "no space left")

    path = tmp_path / "certwatch.yaml"
    path.write_text(f"inventory: sqlite://{tmp_path}/inventory.db\n{CT}")
    with opened("sqlite", tmp_path) as tried:
        expect(load(path, env={}), full, tried.clock, read(make_certificate().der), "plan 7")
    assert "remediation_not_expected" in caplog.text
