"""Passes over networks: begun, broken off, gone on with, ended; and what is said of the networks then."""

import json
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from certwatch.model.observation import Continued, Incomplete, Observation, Unchanged
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock
from collectors.tls import TLSCollector
from collectors.tls.passes import Pass, load, save
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio


async def said(folder: Path, clock: FakeClock, **config: Any) -> list[Any]:
    collector = TLSCollector(
        "wide",
        TLSCollector.Config.model_validate(config),
        CollectorContext(clock=clock, state_folder=folder),
    )
    async with aclosing(cast("Any", collector.collect())) as stream:
        return [each async for each in stream]


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "pass.json").read_text())
    return found


async def test_a_pass_that_was_broken_off_goes_on_and_ends(tmp_path: Path) -> None:
    clock, folder = FakeClock(), tmp_path / "state"
    network = f"127.11.0.0/22:{free_port()}"
    first = await said(folder, clock, targets=[network], rate=400, total_timeout=0.5, sweep=True)
    seen = {each.location for each in first if isinstance(each, Observation)}
    assert 0 < len(seen) < 1024
    assert [each.scope for each in first if isinstance(each, Incomplete)] == [network]
    assert kept(folder)["step"] > 0
    clock.advance(hours=1)
    second = await said(folder, clock, targets=[network], sweep=True)
    more = {each.location for each in second if isinstance(each, Observation)}
    assert len(seen | more) == 1024
    assert len(more) < 1024
    assert [each for each in second if not isinstance(each, Observation)] == [
        Continued(scope=network, since=EPOCH)
    ]
    assert not (folder / "pass.json").exists()
    assert all(isinstance(each, Observation) for each in await said(folder, clock, targets=[network]))


async def test_a_pass_over_other_networks_is_not_gone_on_with(tmp_path: Path) -> None:
    save(tmp_path, Pass(digest="of others", seed=1, step=7, began=EPOCH - timedelta(days=1)))
    found = await said(tmp_path, FakeClock(), targets=[f"127.11.0.0/28:{free_port()}"])
    assert len(found) == 16
    assert all(isinstance(each, Observation) and each.absent and each.guessed for each in found)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"digest": 1}', "x" * 9000, '{"digest":"","seed":-1,"step":0,"began":"x"}']
)
def test_what_is_no_pass_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pass.json").write_text(text)
    assert load(tmp_path) is None


async def test_where_nothing_answers_at_all_the_way_is_broken_and_nothing_is_gone(tmp_path: Path) -> None:
    # Nothing there even refuses (RFC 919, 7: no unicast connection to it).
    found = await said(tmp_path, FakeClock(), targets=["255.255.255.254/31:443"], exclude=["255.255.255.254"])
    assert [type(each) for each in found] == [Observation, Unchanged]
