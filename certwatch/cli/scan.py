"""`certwatch scan`."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import click

from certwatch.cli.failure import ACTION, FAILED, INTERRUPTED, OK, USAGE, Failed
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.text import shown
from certwatch.model.clock import Clock


@dataclass(slots=True)
class Seen:
    #: What was said, in the order in which it was.
    heard: list[Any] = field(default_factory=list)
    #: Runs that were impossible, each a message.
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False


@click.command(name="scan")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@json_option
@click.option(
    "--trust", multiple=True, metavar="FILE", help="Trust these roots (a file or folder), not the system's."
)
@click.option(
    "--protocol",
    metavar="P",
    help="STARTTLS protocol of endpoints that name none: smtp, imap, ldap, postgres …",
)
@click.option(
    "--sweep", is_flag=True, help="For a great many: read the certificate in the clear of TLS 1.2, and leave."
)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds an endpoint."
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Most new connections a second."
)
@click.option(
    "--cert", metavar="FILE", help="Show this client certificate (PEM) to endpoints that ask for one."
)
@click.option("--key", metavar="FILE", help="Its key. Else it is in the same file.")
@click.option("--proxy", metavar="URL", help="Go through it: http://host:port (CONNECT), socks5://host:port.")
@click.option("--insert", is_flag=True, help="Into the inventory as well.")
@config_option
def command(
    targets: tuple[str, ...],
    as_json: bool,
    trust: tuple[str, ...],
    protocol: str | None,
    sweep: bool,
    timeout: float | None,
    rate: float | None,
    cert: str | None,
    key: str | None,
    proxy: str | None,
    insert: bool,
    config: Path | None,
) -> int:
    """Look once at endpoints and files, without a config.

    TARGET is host, host:port, host:port/smtp, 10.20.0.0/24:443,8443, [2001:db8::1]:443, or a file, a folder, a glob.

    Exit status 1: a page or ticket finding; 3: nothing could be looked at; 130: interrupted, with what was seen.
    """
    import uvloop

    from certwatch.cli.progress import progress_bar
    from certwatch.cli.report import judged, write_report, write_report_json
    from certwatch.config.load import load, read
    from certwatch.engine.assemble import rule_set
    from certwatch.telemetry import logs

    logs.set_up(level="error")
    clock = current_clock()
    given = {"timeout": timeout, "rate": rate, "cert_file": cert, "key_file": key, "proxy": proxy}
    settings = _settings(
        targets, protocol, {name: each for name, each in given.items() if each is not None}, sweep=sweep
    )
    # What it is judged by is not of the config; where --insert puts it is.
    plain = replace(
        read("{collectors: [], exporters: [], trust: {}}", env=os.environ),
        trust={"given": trust} if trust else {"system": ("system",)},
    )
    configured = load(config, env=os.environ) if insert else None
    rules = rule_set(plain)
    seen = Seen()
    with (
        progress_bar() as bar,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_look(settings, seen, bar, configured, clock))
    report = judged(seen.heard, rules, clock())
    (write_report_json if as_json else write_report)(report)
    if report.silent:
        click.echo(f"certwatch: {report.silent} of the addresses looked at showed no certificate", err=True)
    for message in (*report.incomplete, *seen.failures):
        click.echo(f"certwatch: {shown(message)}", err=True)
    if seen.interrupted:
        return INTERRUPTED
    if seen.failures or (
        report.looks and not any(each.chain or each.observation.error is None for each in report.looks)
    ):
        return FAILED
    return ACTION if report.urgent else OK


def _settings(
    targets: Sequence[str], protocol: str | None, given: dict[str, Any], *, sweep: bool
) -> list[Any]:
    """One collector for the endpoints, one for the files, as far as there are any. `given`: keys of the first."""
    from certwatch.cli.targets import divide, with_protocol

    endpoints, paths = divide(targets)
    if protocol is not None:
        endpoints = [with_protocol(each, protocol) for each in endpoints]
    wanted = []
    if endpoints:
        wanted.append(_collector("tls", {"targets": endpoints, "sweep": sweep, **given}))
    if paths:
        wanted.append(_collector("file", {"paths": paths}))
    return wanted


def _collector(kind: str, keys: dict[str, Any]) -> Any:
    from datetime import timedelta

    from pydantic import ValidationError

    from certwatch.config.models import complaints
    from certwatch.config.settings import CollectorSettings
    from certwatch.plugins import registry

    model = registry.load("collectors", kind).Config
    try:
        checked = model.model_validate(keys)
    except ValidationError as error:
        said = complaints(error, model, keys, is_secret=lambda path: False)
        raise Failed(USAGE, *said.values()) from error
    return CollectorSettings(
        name=f"scan-{kind}", kind=kind, every=timedelta(days=1), labels={}, config=checked
    )


async def _look(settings: Sequence[Any], seen: Seen, bar: Any, configured: Any, clock: Clock) -> None:
    """Fills `seen`. Interrupted, it returns with what there is."""
    from certwatch.cli.once import Listening, make, open_store, run_once

    work = [make(each, bar(each.kind), clock) for each in settings]
    heard = [(job, Listening(collector, seen.heard, ad_hoc=True)) for job, collector in work]
    try:
        if configured is not None:
            await run_once(open_store(configured), configured, heard, clock)
        else:
            async with asyncio.TaskGroup() as group:
                for job, collector in heard:
                    group.create_task(_drain(job.kind, collector, seen))
    except asyncio.CancelledError:
        seen.interrupted = True


async def _drain(kind: str, collector: Any, seen: Seen) -> None:
    """Run one collector to its end; that it is impossible is said, and does not end the others."""
    from certwatch.plugins.collector import CollectError
    from certwatch.plugins.guard import PluginFailed, guard

    try:
        with guard("collectors", kind):
            async with aclosing(cast("Any", collector.collect())) as stream:
                async for _ in stream:
                    pass
    except CollectError as error:
        seen.failures.append(error.message)
    except PluginFailed as error:
        seen.failures.append(str(error))
