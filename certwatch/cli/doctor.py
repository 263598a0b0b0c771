"""`certwatch doctor`."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from certwatch.cli.failure import ACTION, FAILED, OK
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table

if TYPE_CHECKING:
    from certwatch.config.settings import Config

#: With fewer, a large scan slows down.
WANTED_OPEN_FILES = 4096
#: No certwatch is older: a clock that says so is wrong.
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
#: Later than this a clock is wrong for certain.
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
#: How long the port is asked who it is.
ASK_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    what: str
    #: "off": an extra that is not installed. A config that names it fails.
    result: Literal["ok", "off", "warn", "fail"]
    #: What was found, and what to do.
    said: str


def _ok(what: str, said: str) -> Check:
    return Check(what=what, result="ok", said=said)


def _warn(what: str, said: str) -> Check:
    return Check(what=what, result="warn", said=said)


def _fail(what: str, said: str) -> Check:
    return Check(what=what, result="fail", said=said)


@click.command(name="doctor")
@click.option(
    "--readiness", is_flag=True, help="Walk the production checklist instead: what is proven, what is not."
)
@json_option
@config_option
def command(readiness: bool, as_json: bool, config: Path | None) -> int:
    """Find out why it does not work. Exit status 3: something fails.

    With --readiness: 1: something is not proven, or disproven.
    """
    from certwatch.telemetry import logs

    logs.set_up(level="critical")
    if readiness:
        return _readiness(config, as_json=as_json)
    checks = list(examine(config, current_clock()()))
    if as_json:
        write_json(
            {"checks": [{"what": each.what, "result": each.result, "said": each.said} for each in checks]}
        )
    else:
        write_table(("result", "what", "said"), [(each.result, each.what, each.said) for each in checks])
    return FAILED if any(each.result == "fail" for each in checks) else OK


def _readiness(config: Path | None, *, as_json: bool) -> int:
    from certwatch.cli.readiness import walk

    found = list(walk(config, current_clock()()))
    if as_json:
        write_json(
            {"proofs": [{"what": each.what, "verdict": each.verdict, "said": each.said} for each in found]}
        )
    else:
        write_table(("verdict", "what", "said"), [(each.verdict, each.what, each.said) for each in found])
    return OK if all(each.verdict == "proven" for each in found) else ACTION


def examine(path: Path | None, now: datetime) -> Iterator[Check]:
    """Every check, in the order in which one depends on another."""
    from certwatch.config.load import ConfigError, load

    yield from _plugins()
    yield _clock(now)
    yield _open_files()
    try:
        config = load(path, env=os.environ)
    except ConfigError as error:
        yield from (_fail("config", message) for message in error.messages)
        return
    yield _ok("config", config.name)
    yield from (_warn("config", remark) for remark in config.remarks)
    yield from _trust(config)
    yield from _inventory(config, now)
    yield from _port(config)


def _plugins() -> Iterator[Check]:
    from certwatch.plugins import registry

    for name, owners in registry.foreign_owners().items():
        yield _fail(
            "packages",
            f"{name}: files of {' and '.join(owners)} in one folder. Install certwatch into an environment of its own",
        )
    for each in registry.installed():
        what = f"{each.group.removesuffix('s')} {each.name}"
        group = next(group for group in registry.GROUPS if group == each.group)
        try:
            registry.load(group, each.name)
        except registry.ExtraMissing as error:
            yield Check(what=what, result="off", said=str(error))
        except registry.PluginError as error:
            yield _fail(what, str(error))
        else:
            yield _ok(what, f"{each.distribution} {each.version}")


def _clock(now: datetime) -> Check:
    if EARLIEST <= now <= LATEST:
        return _ok("clock", now.strftime("%Y-%m-%d %H:%M:%SZ"))
    return _fail("clock", f"it says {now:%Y-%m-%d}: every expiry would be judged wrongly. Set it (NTP)")


def _open_files() -> Check:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED_OPEN_FILES:
        return _ok("open files", f"at most {soft}")
    how = f"ulimit -n {WANTED_OPEN_FILES}, or LimitNOFILE= in the unit"
    return _warn("open files", f"at most {soft} (hard limit {hard}): large scans slow down. Raise it: {how}")


def _trust(config: "Config") -> Iterator[Check]:
    from certwatch.doors.trust_files import TrustError, load_trust

    for name, sources in config.trust.items():
        what = f"trust {name}"
        try:
            store = load_trust({name: sources})[name]
        except TrustError as error:
            yield _fail(what, str(error))
            continue
        count = sum(map(len, store.anchors.values()))
        if count:
            yield _ok(what, f"{count} anchors")
        else:
            yield _warn(
                what, "no anchor: every chain will be untrusted. Install ca-certificates, or name files"
            )


def _inventory(config: "Config", now: datetime) -> Iterator[Check]:
    from certwatch.inventory.open import open_inventory
    from certwatch.inventory.store import InventoryError

    try:
        reader = open_inventory(config.inventory, create=False).reader()
    except InventoryError as error:
        if error.kind == "not-found":
            yield _warn("inventory", f"{error.message} (certwatch run and certwatch collect make it)")
        else:
            yield _fail("inventory", error.message)
        return
    try:
        violations = reader.check()
        counts = reader.counts()
        scans = reader.last_scans()
    except InventoryError as error:
        yield _fail("inventory", error.message)
        return
    finally:
        reader.close()
    yield from (_fail("inventory", f"{each}. Restore a backup, or begin a new one") for each in violations)
    if not violations:
        yield _ok("inventory", f"sound: {counts.certificates} certificates, {counts.locations} locations")
    known = {each.name: each.every for each in config.collectors}
    for scan in scans:
        if scan.collector not in known or scan.finished_at is None:
            continue
        what = f"scan {scan.collector}"
        late = now - scan.finished_at > 3 * known[scan.collector] + timedelta(minutes=5)
        if scan.status != "complete":
            reason = scan.error.message if scan.error is not None else "it does not say why"
            yield _warn(what, f"the last one was {scan.status}: {reason}")
        elif late:
            yield _warn(
                what, f"the last one ended {scan.finished_at:%Y-%m-%d %H:%MZ}. Is the daemon running?"
            )
        else:
            yield _ok(what, f"complete, {scan.observations} looks")


def _port(config: "Config") -> Iterator[Check]:
    from certwatch.web.server import PortError, bind

    for each in config.exporters:
        address = getattr(each.config, "listen", None)
        if not isinstance(address, str):
            continue
        try:
            bind(address).close()
        except PortError as error:
            yield _answering(address, str(error))
        else:
            yield _ok(f"port {address}", "free: no daemon runs")
        return


def _answering(address: str, refusal: str, ask: "Callable[[str], tuple[int, str]] | None" = None) -> Check:
    """Whether it is our own daemon that has the port."""
    what = f"port {address}"
    try:
        status, text = (ask or _ask)(address)
    except (OSError, ValueError):
        return _fail(what, refusal)
    if text.startswith("ready"):
        return _ok(what, "a daemon answers, and is ready")
    if text.startswith("not ready"):
        reasons = "; ".join(text.splitlines()[1:])
        return _warn(what, f"a daemon answers, and is not ready: {reasons}")
    return _fail(what, f"another program answers there ({status}). {refusal}")


def _ask(address: str) -> tuple[int, str]:
    """Raises OSError, ValueError."""
    import http.client

    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - asked, not bound
        host = "127.0.0.1"
    connection = http.client.HTTPConnection(host, int(port), timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/-/ready")
        response = connection.getresponse()
        return response.status, response.read(4096).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise ValueError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()
