"""`certwatch inventory migrate`."""

from pathlib import Path

import pytest

from tests.cli.stage import fill, run, write_config
from tests.support import postgresql_inventories

pytestmark = pytest.mark.timeout(120)


def test_an_inventory_is_moved_and_everything_is_found_there(tmp_path: Path) -> None:
    fill(tmp_path)
    here = write_config(tmp_path)
    with postgresql_inventories.empty() as url:
        there = tmp_path / "postgresql.yaml"
        there.write_text(f"inventory: {url}\n")
        moved = run("inventory", "migrate", there, "-c", here)
        assert moved.status == 0, moved.err
        assert moved.out.splitlines()[0].startswith("issuers ")
        for verb in (("list", "--json"), ("findings", "--json", "--all"), ("export", "--format", "csv")):
            assert run(*verb, "-c", there).out == run(*verb, "-c", here).out
        again = run("inventory", "migrate", url, "-c", here)
        assert (again.status, "is not empty" in again.err) == (3, True)


def test_where_there_is_no_inventory_nothing_is_moved(tmp_path: Path) -> None:
    ran = run("inventory", "migrate", f"sqlite://{tmp_path}/other.db", "-c", write_config(tmp_path))
    assert (ran.status, "there is no such file" in ran.err) == (3, True)
