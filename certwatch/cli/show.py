"""`certwatch show`."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import left, minute
from certwatch.cli.options import config_option, current_clock, json_option, reader_of
from certwatch.cli.shapes import finding_json, write_json
from certwatch.cli.text import common_name, lines, shown
from certwatch.cli.trust import Trust, trust_json, trust_lines, trust_of
from certwatch.inventory.shapes import certificate_shown, location_json
from certwatch.inventory.store import FindingQuery
from certwatch.model.certificate import Certificate
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import LocationURI, file_location
from certwatch.x509 import pem

if TYPE_CHECKING:
    from certwatch.inventory.store import Entry, Reader
    from certwatch.model.sighting import Served, Sighting

_HEX = re.compile(r"[0-9a-fA-F: ]{2,95}")
#: Places that are printed; --json has all.
MAX_PLACES = 20


@click.command(name="show")
@click.argument("id")
@click.option(
    "--pem", "as_pem", is_flag=True, help="The certificate, or the chain of a location, for other programs."
)
@json_option
@config_option
def command(id: str, as_pem: bool, as_json: bool, config: Path | None) -> int:
    """Show a certificate, a location or a finding: details, chain, history, what is wrong.

    ID is a fingerprint (SHA-256) or its beginning, a location (tls://…, file://…, /path/to/file), or a finding's
    number. Exit status 1: a page or ticket is open.
    """
    now = current_clock()()
    if as_pem and as_json:
        raise Failed(USAGE, "--pem and --json exclude one another")
    with reader_of(config) as reader:
        if as_pem:
            return _pem(reader, id, now)
        if "://" in id or id.startswith("/"):
            return _location(reader, id, config, now, as_json=as_json)
        if id.isascii() and id.isdigit() and len(id) < 8:
            return _finding(reader, int(id), as_json=as_json)
        if _HEX.fullmatch(id):
            return _certificate(reader, id, now, as_json=as_json)
    raise Failed(
        FAILED,
        f"{shown(id)}: neither a fingerprint, a location nor a finding's number. Search with: certwatch list"
        f" {shown(id)}",
    )


def _pem(reader: "Reader", id: str, now: datetime) -> int:
    """As they were presented, leaf first; no word beside them."""
    if "://" in id or id.startswith("/"):
        chain = _served(reader, id).chain
    elif _HEX.fullmatch(id):
        chain = (_one(reader, id, now).certificate,)
    else:
        raise Failed(USAGE, f"{shown(id)}: --pem is for a fingerprint or a location")
    if not chain:
        raise Failed(FAILED, f"{shown(id)}: no certificate was seen there")
    for each in chain:
        click.echo(pem.encode(each.der), nl=False)
    return OK


def _status(findings: Sequence[Finding]) -> int:
    urgent = any(each.is_told and each.severity in ("page", "ticket") for each in findings)
    return ACTION if urgent else OK


def _finding(reader: "Reader", number: int, *, as_json: bool) -> int:
    finding = reader.finding(FindingID(number))
    if finding is None:
        raise Failed(FAILED, f"there is no finding {number}. See: certwatch findings --all")
    if as_json:
        write_json(finding_json(finding))
    else:
        click.echo("\n".join(_finding_lines(finding)))
    return _status([finding])


def _silenced(finding: Finding) -> str:
    silence = finding.silence
    if silence is None:
        return ""
    return f"until {minute(silence.until)} by {silence.author}: {silence.reason} (silence {silence.id})"


def _finding_lines(finding: Finding, *, indent: int = 0) -> Iterator[str]:
    yield " " * indent + shown(f"{finding.severity}  {finding.rule}  {finding.summary}")
    yield from lines(
        [
            ("finding", str(finding.id)),
            ("location", shown(finding.location)),
            ("certificate", finding.fingerprint.hex() if finding.fingerprint is not None else ""),
            ("owner", shown(finding.owner)),
            ("opened", minute(finding.opened_at)),
            ("resolved", minute(finding.resolved_at) if finding.resolved_at is not None else ""),
            ("silenced", shown(_silenced(finding))),
            ("what to do", shown(finding.text)),
            ("runbook", shown(finding.runbook)),
        ],
        indent=indent + 2,
    )


def _one(reader: "Reader", prefix: str, now: datetime) -> "Entry":
    found = reader.certificate(prefix, now)
    if not found:
        raise Failed(
            FAILED,
            f"no certificate has a fingerprint that begins with {prefix}. Search with: certwatch list {prefix}",
        )
    if len(found) > 1:
        raise Failed(
            FAILED,
            f"{len(found)} certificates have a fingerprint that begins with {prefix}. Give more of it:",
            *(f"  {each.certificate.fingerprint_sha256.hex()}  {each.certificate.subject}" for each in found),
        )
    return found[0]


def _certificate(reader: "Reader", prefix: str, now: datetime, *, as_json: bool) -> int:
    entry = _one(reader, prefix, now)
    findings = list(reader.findings(FindingQuery(fingerprint=entry.certificate.fingerprint_sha256)))
    if as_json:
        write_json(certificate_shown(entry, findings))
    else:
        click.echo("\n".join(_entry_lines(entry, findings, now)))
    return _status(findings)


def _entry_lines(entry: "Entry", findings: Sequence[Finding], now: datetime) -> Iterator[str]:
    yield from _certificate_lines(entry.certificate, now)
    yield from lines(
        [
            ("state", f"{entry.validity}, {entry.presence}"),
            ("first seen", minute(entry.first_seen)),
            ("last seen", minute(entry.last_seen)),
        ]
    )
    yield f"\nlocations ({entry.locations}{' or more' if entry.more else ''})"
    for place in entry.places[:MAX_PLACES]:
        until = "now" if place.ended_at is None else minute(place.ended_at)
        yield shown(f"  {place.location}")
        yield from lines(
            [
                ("served", f"{minute(place.first_seen)} to {until}"),
                ("in the chain", "leaf" if place.position == 0 else f"issuer {place.position}"),
                ("owner", shown(place.owner)),
                ("collectors", shown(", ".join(place.collectors))),
                ("error", shown(place.error.message) if place.error is not None else ""),
            ],
            indent=4,
        )
    if entry.locations > MAX_PLACES:
        yield f"  and {entry.locations - MAX_PLACES}{' or' if entry.more else ''} more: see --json"
    yield from _findings_lines(findings)


def _findings_lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield f"\nfindings ({len(findings)})"
    for finding in findings:
        yield from _finding_lines(finding, indent=2)


def _certificate_lines(certificate: Certificate, now: datetime) -> Iterator[str]:
    key = certificate.key
    yield from lines(
        [
            ("subject", shown(certificate.subject) or "—"),
            ("issuer", shown(certificate.issuer) or "—"),
            ("serial", certificate.serial_hex or "unreadable"),
            ("not before", minute(certificate.not_before)),
            ("not after", f"{minute(certificate.not_after)} ({left(certificate.not_after, now)})"),
            ("names", shown(" ".join(certificate.names))),
            ("key", " ".join(str(each) for each in (key.type, key.bits, key.curve) if each)),
            ("signature", shown(certificate.signature_algorithm)),
            ("CA", "yes" if certificate.is_ca else "no"),
            ("SHA-256", certificate.fingerprint_sha256.hex()),
            ("problems", shown("; ".join(certificate.problems))),
        ]
    )


def _served(reader: "Reader", id: str) -> "Served":
    uri = LocationURI(id) if "://" in id else file_location(id)
    served = reader.served(uri)
    if served is None:
        raise Failed(FAILED, f"{shown(uri)}: never seen. Search with: certwatch list {shown(uri)}")
    return served


def _location(reader: "Reader", id: str, config: Path | None, now: datetime, *, as_json: bool) -> int:
    served = _served(reader, id)
    uri = served.location.uri
    history = reader.history(uri)
    findings = list(reader.findings(FindingQuery(location=uri)))
    trust = trust_of(served, config, now)
    if as_json:
        write_json({**location_json(served, history, findings), "trust": trust_json(trust)})
    else:
        click.echo("\n".join(_location_lines(served, history, findings, trust, now)))
    return _status(findings)


def _location_lines(
    served: "Served",
    history: "Sequence[Sighting]",
    findings: Sequence[Finding],
    trust: "Trust",
    now: datetime,
) -> Iterator[str]:
    labels = " ".join(f"{key}={value}" for key, value in sorted(served.location.labels.items()))
    yield from lines(
        [
            ("location", shown(served.location.uri)),
            ("state", "retired " + minute(served.retired_at) if served.retired_at is not None else "live"),
            ("owner", shown(served.owner)),
            ("collectors", shown(", ".join(served.collectors))),
            ("labels", shown(labels)),
            ("last seen", minute(served.last_seen)),
            ("last served", minute(served.last_served)),
            (
                "error",
                shown(f"{served.error.message} (since {minute(served.failing_since)})")
                if served.error is not None
                else "",
            ),
        ]
    )
    if served.facts:
        yield "\nfacts"
        yield from lines([(shown(key), shown(_fact(value))) for key, value in served.facts.items()], indent=2)
    if trust:
        yield "\ntrust"
        yield from lines([(name, shown(each)) for name, each in trust_lines(trust)], indent=2)
    for position, certificate in enumerate(served.chain):
        yield f"\nchain [{position}]" if position else "\nchain [0], the leaf"
        yield from ("  " + line for line in _certificate_lines(certificate, now))
    yield "\nhistory"
    for each in history:
        until = "now" if each.ended_at is None else minute(each.ended_at)
        yield shown(
            f"  {minute(each.first_seen)} to {until}  [{each.position}]  {common_name(each.certificate.subject)}"
            f"  {each.certificate.fingerprint_sha256.hex()[:16]}"
        )
    yield from _findings_lines(findings)


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
