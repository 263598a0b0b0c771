"""A run of the program in this process: with an inventory, a config and a clock of its own."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from certwatch.cli.app import app
from certwatch.cli.options import Session
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import LookError, Observation
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca, make_certificate
from tests.support.inventories import opened, problem


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


def run(*args: str | Path, clock: Clock | None = None, **env: str) -> Ran:
    """Never by a config or an inventory of this machine."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        result = CliRunner().invoke(
            app,
            [str(each) for each in args],
            obj=Session(clock=clock or FakeClock()),
            env={"CERTWATCH_CONFIG": None, "COLUMNS": "200", **env},
            catch_exceptions=False,
        )
    finally:
        # A verb sets up logs for a process of its own.
        root.handlers[:] = handlers
        root.setLevel(level)
    return Ran(result.exit_code, result.stdout, result.stderr)


def write_config(folder: Path, text: str = "") -> Path:
    path = folder / "certwatch.yaml"
    path.write_text(f"inventory: sqlite://{folder}/inventory.db\n{text}")
    return path


ROOT = make_ca("Test Root", serial_number=1)
WEB = make_certificate(names=("dns:www.example.com", "dns:example.com"), issuer=ROOT, serial_number=0x0A01)
NEXT = make_certificate(
    names=("dns:www.example.com",), issuer=ROOT, serial_number=0x0A02, not_after=EPOCH.replace(year=2027)
)
PAY = make_certificate(names=("dns:pay.example.com",), issuer=ROOT, serial_number=0x0B01, key_kind="rsa")
OLD = make_certificate(
    names=("dns:old.example.net",), issuer=ROOT, serial_number=0x0C01, not_after=EPOCH.replace(day=1, hour=0)
)

WEB_AT = LocationURI("tls://192.0.2.1:443/?sni=www.example.com")
PAY_AT = LocationURI("tls://192.0.2.2:443/?sni=pay.example.com")
FILE_AT = LocationURI("file:///etc/ssl/old.pem")


def fill(folder: Path) -> None:
    """An inventory with a renewal, an expired file, a location that fails, two owners and three findings."""

    def look(uri: LocationURI, *chain: Issued, **more: Any) -> Observation:
        return Observation(location=uri, observed_at=clock(), chain=tuple(each.der for each in chain), **more)

    with opened("sqlite", folder) as tried:
        clock = tried.clock
        facts = {"tls_version": "TLSv1.3", "handshake_seconds": 0.0125, "ocsp_stapled": False}
        tried.record(look(WEB_AT, WEB, ROOT, facts=facts), look(PAY_AT, PAY, facts=facts))
        tried.record(look(FILE_AT, OLD, labels={"environment": "prod"}), collector="hosts")
        clock.advance(hours=1)
        error = LookError(kind="timeout", message="192.0.2.2:443: no answer within 10 s")
        tried.record(look(WEB_AT, NEXT, ROOT, facts=facts), look(PAY_AT, error=error))
        tried.settle(uri=WEB_AT, owner="web")
        tried.settle(
            problem("unreachable", severity="info", summary=f"{PAY_AT} cannot be read: timeout"),
            problem("weak-key", severity="ticket", certificate=PAY, summary="pay.example.com: weak key"),
            uri=PAY_AT,
            owner="payments",
        )
        tried.settle(
            problem("expiry", severity="page", certificate=OLD, summary="old.example.net expired 2026-11-01"),
            uri=FILE_AT,
        )


def later() -> FakeClock:
    """Some hours after `fill`."""
    clock = FakeClock()
    clock.advance(hours=5)
    return clock
