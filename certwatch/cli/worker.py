"""`certwatch worker`."""

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certwatch.cli.failure import FAILED, OK, USAGE, Failed
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
    "--push",
    "url",
    metavar="URL",
    help="Where PostgreSQL cannot be reached: the daemon's port for workers, https://host:port.",
)
@click.option(
    "--cert",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --push: this worker's certificate, PEM, leaf first. A renewed one is taken up.",
)
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="Its key. Else it is in the same file."
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Who signed the daemon's certificate, PEM. Else those whom this system trusts.",
)
@click.option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --push: folder for what cannot be handed in yet.",
)
@click.option(
    "--spool-mib",
    type=click.IntRange(1, 1 << 20),
    default=256,
    show_default=True,
    help="The most that it holds, about; then looking waits.",
)
@click.option(
    "--list", "listing", is_flag=True, help="Show zones, what waits for them, and their workers; then end."
)
@json_option
@config_option
def command(
    zone: str | None,
    jobs: int,
    url: str | None,
    cert: Path | None,
    key: Path | None,
    ca: Path | None,
    spool: Path | None,
    spool_mib: int,
    listing: bool,
    as_json: bool,
    config: Path | None,
) -> int:
    """Look at what is in this network zone, for the daemon: certwatch worker --queue dmz

    The daemon divides the scans of collectors that have `zone: dmz` and puts the parts into a queue in PostgreSQL; any number
    of workers take them. A worker needs a config with `inventory: postgresql://…` and a way to that server, nothing else:
    what to look at comes from the daemon's config, but `${NAME}` and files in it mean the worker's own environment and files.

    Without a way to PostgreSQL: --push https://daemon:9720 --cert worker.pem --spool /var/lib/certwatch/spool. Such a worker
    needs no config.

    It stops on SIGTERM and Ctrl-C; what it has not done goes to other workers.
    """
    if zone is not None:
        _check(zone)
    if url is not None:
        if listing:
            raise Failed(USAGE, "--list reads PostgreSQL: run it where the daemon runs")
        if zone is None:
            raise Failed(USAGE, _WHICH_ZONE)
        return _push(url, zone, jobs, cert, key, ca, spool, spool_mib << 20)
    if any(each is not None for each in (cert, key, ca, spool)):
        raise Failed(USAGE, "--cert, --key, --ca and --spool go with --push https://…")
    return _work(zone, jobs, listing=listing, as_json=as_json, config=config)


_WHICH_ZONE = "which zone? Give the name that collectors have in `zone:`, as in --queue dmz"


def _check(zone: str) -> None:
    """No collector can have another one in its `zone:`, so that a worker of it would wait for ever. An empty one is a variable
    that was not set."""
    from certwatch.config.schema import NAME_PATTERN

    if re.fullmatch(NAME_PATTERN, zone) is None:
        raise Failed(
            USAGE,
            f"--queue {zone!r}: no name of a zone: letters, digits, hyphens, as collectors have it in `zone:`",
        )


def _work(zone: str | None, jobs: int, *, listing: bool, as_json: bool, config: Path | None) -> int:
    from certwatch.config.load import load
    from certwatch.telemetry import logs

    checked = load(config, env=os.environ)
    logs.set_up(level=checked.log.level, style=checked.log.style)
    if not checked.inventory.startswith(("postgresql:", "postgres:")):
        raise Failed(
            USAGE,
            f"{checked.name}: inventory: workers find their jobs in PostgreSQL. Give the daemon's `inventory: postgresql://…`,"
            " or hand in over HTTPS: --push https://…",
        )
    if listing:
        return _list(checked.inventory, as_json=as_json)
    if zone is None:
        raise Failed(USAGE, _WHICH_ZONE)

    import uvloop

    from certwatch.zones.worker import Worker

    clock = current_clock()

    async def work() -> None:
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
        runner.run(work())
    return OK


def _push(
    url: str,
    zone: str,
    jobs: int,
    cert: Path | None,
    key: Path | None,
    ca: Path | None,
    folder: Path | None,
    most_bytes: int,
) -> int:
    from urllib.parse import urlsplit

    import uvloop

    from certwatch.telemetry import logs
    from certwatch.zones.push import Pusher, PushRefused, Way
    from certwatch.zones.spool import Spool, SpoolError

    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise Failed(
            USAGE, f"--push {url}: not the address of the daemon's port for workers: https://host:port"
        )
    if cert is None or folder is None:
        raise Failed(
            USAGE, "--push needs --cert, this worker's certificate, and --spool, a folder of its own"
        )
    logs.set_up(level="info", style="line")
    clock = current_clock()
    way = Way(url=url.rstrip("/"), certificate=cert, key=key, trust=ca)

    async def work() -> None:
        spool = await asyncio.to_thread(Spool, folder, most_bytes)
        await Pusher(way, zone, slots=jobs, spool=spool, env=os.environ, clock=clock).main()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    except (PushRefused, SpoolError) as error:
        raise Failed(FAILED, str(error)) from error
    return OK


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
