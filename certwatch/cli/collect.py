"""`certwatch collect`."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import ACTION, FAILED, INTERRUPTED, OK, USAGE, Failed
from certwatch.cli.instants import iso
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.shapes import error_json, write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import shown

if TYPE_CHECKING:
    from certwatch.config.settings import CollectorSettings, Config
    from certwatch.model.observation import Scan


@click.command(name="collect")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@json_option
@config_option
def command(names: tuple[str, ...], as_json: bool, config: Path | None) -> int:
    """Run configured collectors once, into the inventory: all of them, or those that are named.

    While the daemon runs, it has the inventory: this is for hosts without one.

    Exit status 1: a page or ticket is open; 3: a collector failed; 130: interrupted, with what was seen recorded.
    """
    import uvloop

    from certwatch.cli.once import make, open_store, run_once
    from certwatch.cli.progress import progress_bar
    from certwatch.config.load import load
    from certwatch.engine.assemble import state_folder
    from certwatch.engine.view import StoreView
    from certwatch.telemetry import logs

    clock = current_clock()
    checked = load(config, env=os.environ)
    logs.set_up(level="warning", style=checked.log.style)
    wanted = _wanted(checked, names)
    store = open_store(checked)
    view = StoreView(store)
    scans: list[Scan] = []

    async def work(bar: Any) -> bool:
        """False: it was interrupted."""
        try:
            made = [make(each, bar(each.name), clock, view, state_folder(checked)) for each in wanted]
            scans.extend(await run_once(store, checked, made, clock))
        except asyncio.CancelledError:
            return False
        return True

    with (
        progress_bar() as bar,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        done = runner.run(work(bar))
    view.close()
    _write(scans, as_json=as_json)
    if not done:
        return INTERRUPTED
    if any(each.status == "failed" for each in scans):
        return FAILED
    reader = store.reader()
    try:
        counts = reader.counts().open_findings
    finally:
        reader.close()
    return ACTION if counts.get("page") or counts.get("ticket") else OK


def _wanted(config: "Config", names: Sequence[str]) -> "list[CollectorSettings]":
    known = [each.name for each in config.collectors]
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            hint = f', did you mean "{near[0]}"?' if near else f" (known: {', '.join(known) or 'none'})"
            raise Failed(USAGE, f'no collector is named "{name}"{hint}')
    if not known:
        raise Failed(USAGE, f"{config.name}: no collector is configured")
    wanted = [each for each in config.collectors if not names or each.name in names]
    elsewhere = [each for each in wanted if each.zone is not None]
    if names and elsewhere:
        raise Failed(
            USAGE,
            f'{elsewhere[0].name}: is for the workers of zone "{elsewhere[0].zone}": `certwatch run` has them look',
        )
    return [each for each in wanted if each.zone is None]


def _write(scans: "Sequence[Scan]", *, as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "scans": [
                    {
                        "collector": each.collector,
                        "status": each.status,
                        "started_at": iso(each.started_at),
                        "finished_at": iso(each.finished_at),
                        "observations": each.observations,
                        "errors": each.errors,
                        "error": error_json(each.error),
                    }
                    for each in scans
                ]
            }
        )
        return
    write_table(
        ("collector", "status", "looks", "errors"),
        [(each.collector, each.status, str(each.observations), str(each.errors)) for each in scans],
    )
    for each in scans:
        if each.error is not None:
            click.echo(f"certwatch: {shown(each.collector)}: {shown(each.error.message)}", err=True)
