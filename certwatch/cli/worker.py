"""`certwatch worker`."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certwatch.cli.failure import USAGE, Failed
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table

if TYPE_CHECKING:
    from certwatch.zones.dispatch import Zone


@click.command(name="worker")
@click.option(
    "-q",
    "--queue",
    "zone",
    metavar="ZONE",
    help="The zone: what collectors name in `zone:` in the daemon's config.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Parts of scans to do at once.",
)
@click.option(
    "--list", "listing", is_flag=True, help="Show zones, what waits for them, and their workers; then end."
)
@json_option
@config_option
def command(zone: str | None, jobs: int, listing: bool, as_json: bool, config: Path | None) -> int:
    """Look at what is in this network zone, for the daemon: certwatch worker --queue dmz

    The daemon divides the scans of collectors that have `zone: dmz` and puts the parts into a queue in PostgreSQL; any number
    of workers take them. A worker needs a config with `inventory: postgresql://…` and a way to that server, nothing else:
    what to look at comes from the daemon's config, but `${NAME}` and files in it mean the worker's own environment and files.

    It stops on SIGTERM and Ctrl-C; what it has not done goes to other workers.
    """
    from certwatch.config.load import load
    from certwatch.telemetry import logs

    checked = load(config, env=os.environ)
    logs.set_up(level=checked.log.level, style=checked.log.style)
    if not checked.inventory.startswith(("postgresql:", "postgres:")):
        raise Failed(
            USAGE,
            f"{checked.name}: inventory: workers find their jobs in PostgreSQL. Give the daemon's `inventory: postgresql://…`",
        )
    if listing:
        return _list(checked.inventory, as_json=as_json)
    if zone is None:
        raise Failed(USAGE, "which zone? Give the name that collectors have in `zone:`, as in --queue dmz")

    import uvloop

    from certwatch.zones.worker import Worker

    clock = current_clock()

    async def work(zone: str) -> None:
        worker = Worker(
            checked.inventory,
            zone,
            slots=jobs,
            lease_seconds=checked.workers.lease.total_seconds(),
            env=os.environ,
            clock=clock,
        )
        await worker.main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(zone))
    return 0


def _list(url: str, *, as_json: bool) -> int:
    from contextlib import closing

    from certwatch.inventory.open import open_inventory
    from certwatch.inventory.postgresql.zones import Zones
    from certwatch.zones.dispatch import zones_of

    open_inventory(url, create=False)
    with closing(Zones(url)) as zones:
        found = zones_of(frozenset(), zones)
    if as_json:
        write_json({"zones": [_said(each) for each in found]})
        return 0
    write_table(
        ("zone", "waiting", "running", "oldest", "worker", "via", "version", "jobs", "heard"),
        [row for each in found for row in _rows(each)],
    )
    return 0


def _rows(zone: "Zone") -> list[tuple[str, ...]]:
    state = zone.state
    waiting, running = (str(state.waiting), str(state.running)) if state is not None else ("0", "0")
    oldest = f"{state.oldest_seconds:.0f} s" if state is not None and state.oldest_seconds is not None else ""
    head = (zone.name, waiting, running, oldest)
    if not zone.workers:
        return [(*head, "none", "", "", "", "")]
    return [
        (
            *(head if index == 0 else ("", "", "", "")),
            each.name,
            each.via,
            each.version,
            f"{each.running}/{each.slots}",
            f"{each.silent_seconds:.0f} s ago" + ("" if each.alive else ", silent"),
        )
        for index, each in enumerate(zone.workers)
    ]


def _said(zone: "Zone") -> dict[str, object]:
    state = zone.state
    return {
        "zone": zone.name,
        "waiting": state.waiting if state is not None else 0,
        "running": state.running if state is not None else 0,
        "oldest_seconds": state.oldest_seconds if state is not None else None,
        "workers": [
            {
                "name": each.name,
                "via": each.via,
                "version": each.version,
                "jobs": each.slots,
                "running": each.running,
                "silent_seconds": round(each.silent_seconds, 1),
                "alive": each.alive,
            }
            for each in zone.workers
        ],
    }
