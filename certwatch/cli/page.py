"""`certwatch page test`, `confirm`, `list`: whether a page reaches somebody, tried for real."""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import iso, minute
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.proofs import Kept, digest, keep, kept
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import shown

if TYPE_CHECKING:
    import httpx

    from certwatch.config.settings import Config, ExporterSettings

#: Without what people mistake for one another.
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
CODE_LENGTH = 8
#: A page that nobody confirms by then has not arrived.
OPEN = timedelta(hours=24)
HTTP_SECONDS = 15.0
#: Until an Alertmanager says whom it tells.
ROUTING_SECONDS = 10.0
MAX_ANSWER = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way that pages take: alerts are routed by these labels."""

    team: str
    page: str
    route: str

    @property
    def labels(self) -> dict[str, str]:
        return {
            name: value
            for name, value in (("team", self.team), ("page", self.page), ("route", self.route))
            if value
        }

    @property
    def words(self) -> str:
        return f"route {self.route}" if self.route else f"team {self.team}"


def ways_of(config: "Config") -> list[Way]:
    """Every team of the config, those that nobody answers for, and every `to` of its routes."""
    pages = {each.team: each.page or "" for each in reversed(config.owners)}
    teams = sorted(pages) + (["unowned"] if "unowned" not in pages else [])
    return [
        *(Way(team=team, page=pages.get(team, ""), route="") for team in teams),
        *(Way(team="unowned", page="", route=to) for to in sorted({each.to for each in config.routes})),
    ]


@click.group(name="page")
def command() -> None:
    """Prove that pages arrive: send one to everybody who may be paged, and have it confirmed by who received it."""


@command.command()
@click.option("--team", metavar="NAME", help="Only this one.")
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@json_option
@config_option
def test(team: str | None, by: str | None, as_json: bool, config: Path | None) -> int:
    """Send a test page by every way that pages take: to each team, to those who answer for what nobody answers for, and by
    each of `routes:`. It goes through the Alertmanagers of the config, with the labels that a real page has.

    Each has a code; whoever receives it says so: certwatch page confirm CODE. Exit status 1: an Alertmanager tells nobody.
    """
    from certwatch.cli.ca.opening import person

    now = current_clock()()
    loaded = _loaded(config)
    managers = _managers(loaded)
    ways = [each for each in ways_of(loaded) if team is None or each.team == team]
    if not ways:
        raise Failed(USAGE, f"page test: {shown(team or '')}: no owner rule has this team")
    codes = {way: "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH)) for way in ways}
    for manager in managers:
        with _client(manager) as client:
            for url in manager.config.urls:  # type: ignore[attr-defined]
                _send(client, url, [_alert(manager, loaded, way, code, now, now + OPEN) for way, code in codes.items()])  # fmt: skip
    told = {way: _receivers(managers, code) for way, code in codes.items()}
    for way, code in codes.items():
        about = {**way.labels, "code_sha256": digest(code), "receivers": told[way]}
        keep(loaded, "page-sent", now, by or person(), about)
    if as_json:
        write_json({"pages": [{**way.labels, "receivers": told[way]} for way in ways]})
    else:
        for way in ways:
            where = ", ".join(told[way]) or "nobody: no route of Alertmanager leads to a receiver"
            click.echo(f"{shown(way.words)}: sent to {shown(where)}")
        click.echo("certwatch: whoever receives one: certwatch page confirm CODE", err=True)
    return OK if all(told.values()) else ACTION


@command.command()
@click.argument("code")
@click.option("--by", metavar="NAME", help="Who received it. Else: whoever is logged in.")
@json_option
@config_option
def confirm(code: str, by: str | None, as_json: bool, config: Path | None) -> int:
    """Say that a test page arrived, by the CODE in it. It is over then."""
    from certwatch.cli.ca.opening import person

    now = current_clock()()
    loaded = _loaded(config)
    wanted = digest(code.strip().upper())
    entries = kept(loaded)
    sent = next(
        (each for each in reversed(entries) if each.kind == "page-sent" and each.about.get("code_sha256") == wanted),
        None,
    )  # fmt: skip
    if sent is None:
        raise Failed(FAILED, f"{shown(code[:40])}: no test page has this code. See certwatch page list")
    if now - sent.at > OPEN:
        raise Failed(
            FAILED, f"{shown(code[:40])}: was sent {minute(sent.at)}, which is too long ago: send another"
        )
    about = {**sent.about, "seconds": round((now - sent.at).total_seconds(), 1)}
    if not any(each.kind == "page-received" and each.about.get("code_sha256") == wanted for each in entries):
        keep(loaded, "page-received", now, by or person(), about)
    way = Way(**{name: str(sent.about.get(name, "")) for name in ("team", "page", "route")})
    for manager in _managers(loaded):
        with _client(manager) as client:
            for url in manager.config.urls:  # type: ignore[attr-defined]
                _send(client, url, [_alert(manager, loaded, way, code.strip().upper(), sent.at, now)])
    if as_json:
        write_json({**way.labels, "seconds": about["seconds"]})
    else:
        click.echo(f"{shown(way.words)}: received {about['seconds']:g} s after it was sent")
    return OK


@command.command(name="list")
@json_option
@config_option
def list_(as_json: bool, config: Path | None) -> int:
    """Show when a page last reached each of those who may be paged. Exit status 1: somebody was never reached."""
    loaded = _loaded(config)
    found = [(way, *last_of(kept(loaded), way)) for way in ways_of(loaded)]
    if as_json:
        write_json(
            {
                "pages": [
                    {
                        **way.labels,
                        "sent": iso(sent.at) if sent else None,
                        "received": iso(received.at) if received else None,
                        "received_by": received.by if received else None,
                        "seconds": received.about.get("seconds") if received else None,
                        "receivers": list(sent.about.get("receivers", ())) if sent else [],
                    }
                    for way, sent, received in found
                ]
            }
        )
    else:
        write_table(
            ("way", "sent", "received", "by", "receivers"),
            (
                (
                    way.words,
                    minute(sent.at) if sent else "never",
                    minute(received.at) if received else "never",
                    received.by if received else "",
                    ", ".join(map(str, sent.about.get("receivers", ()))) if sent else "",
                )
                for way, sent, received in found
            ),
            spare=("receivers",),
        )
    return OK if all(received for *_, received in found) else ACTION


def last_of(entries: Sequence[Kept], way: Way) -> tuple[Kept | None, Kept | None]:
    """The last test page by this way, and the last that was received."""
    sent = received = None
    for each in entries:
        if {name: each.about.get(name, "") for name in way.labels} != way.labels:
            continue
        if bool(way.route) != bool(each.about.get("route")):
            continue
        if each.kind == "page-sent":
            sent = each
        elif each.kind == "page-received":
            received = each
    return sent, received


def _loaded(config: Path | None) -> "Config":
    import os

    from certwatch.config.load import load

    return load(config, env=os.environ)


def _managers(config: "Config") -> "list[ExporterSettings]":
    found = [each for each in config.exporters if each.kind == "alertmanager"]
    if not found:
        raise Failed(
            USAGE, "page: the config has no exporter of kind alertmanager, so that certwatch pages nobody by itself"
        )  # fmt: skip
    return found


def _client(manager: "ExporterSettings") -> "httpx.Client":
    import ssl

    import httpx

    settings: Any = manager.config
    try:
        context = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        headers = settings.headers()
    except (OSError, ValueError) as error:
        raise Failed(FAILED, f"exporter alertmanager: {error}") from error
    return httpx.Client(headers=headers, verify=context, timeout=HTTP_SECONDS, trust_env=False)


def _alert(
    manager: "ExporterSettings", config: "Config", way: Way, code: str, starts: datetime, ends: datetime
) -> dict[str, Any]:
    settings: Any = manager.config
    labels = {
        **settings.labels,
        "alertname": "CertwatchTestPage",
        "severity": "page",
        "rule": "test-page",
        **way.labels,
        # One alert of its own for each test.
        "test": digest(code)[:16],
    }
    text = f"A test of the way that pages take ({way.words}). Nothing is broken. Say that it arrived: certwatch page confirm {code}"
    return {
        "labels": labels,
        "annotations": {"summary": f"Test page: confirm {code}", "description": text},
        "startsAt": starts.isoformat(),
        "endsAt": ends.isoformat(),
        "generatorURL": f"{config.external_url}/" if config.external_url else "",
    }


def _send(client: "httpx.Client", url: str, alerts: Sequence[Mapping[str, Any]]) -> None:
    import httpx

    try:
        answer = client.post(f"{url.rstrip('/')}/api/v2/alerts", json=list(alerts))
    except httpx.HTTPError as error:
        raise Failed(FAILED, f"{url}: {type(error).__name__}: {error}") from error
    if not answer.is_success:
        raise Failed(FAILED, f"{url}: HTTP {answer.status_code}: {answer.text[:200]!r}")


def _receivers(managers: "Sequence[ExporterSettings]", code: str) -> list[str]:
    """Whom the Alertmanagers tell of it, by their own word."""
    found: set[str] = set()
    for manager in managers:
        with _client(manager) as client:
            for url in manager.config.urls:  # type: ignore[attr-defined]
                found |= set(_asked(client, url, digest(code)[:16]))
    return sorted(found)


def _asked(client: "httpx.Client", url: str, test: str) -> Iterator[str]:
    import httpx

    until = time.monotonic() + ROUTING_SECONDS
    while True:
        try:
            answer = client.get(f"{url.rstrip('/')}/api/v2/alerts", params={"filter": f'test="{test}"'})
            alerts = answer.json() if answer.is_success and len(answer.content) <= MAX_ANSWER else []
            names = [each["name"] for alert in alerts for each in alert["receivers"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Failed(FAILED, f"{url}: does not say whom it tells: {error}") from error
        if names or time.monotonic() > until:
            yield from map(str, names)
            return
        time.sleep(0.2)
