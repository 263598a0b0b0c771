"""What programs read: the shapes of JSON and CSV. They are a contract: add to them, change nothing."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.instants import iso
from certwatch.model.certificate import Certificate
from certwatch.model.finding import Finding
from certwatch.model.observation import LookError, Observation

if TYPE_CHECKING:
    from certwatch.inventory.store import Entry, Place


def certificate_json(certificate: Certificate) -> dict[str, Any]:
    key = certificate.key
    return {
        "fingerprint_sha256": certificate.fingerprint_sha256.hex(),
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial_number": certificate.serial_hex,
        "not_before": iso(certificate.not_before),
        "not_after": iso(certificate.not_after),
        "names": list(certificate.names),
        "key": {"type": key.type, "bits": key.bits, "curve": key.curve},
        "signature_algorithm": certificate.signature_algorithm,
        "is_ca": certificate.is_ca,
    }


def error_json(error: LookError | None) -> dict[str, str] | None:
    return None if error is None else {"kind": error.kind, "message": error.message}


def observation_json(observation: Observation, chain: Sequence[Certificate]) -> dict[str, Any]:
    return {
        "location": observation.location,
        "observed_at": iso(observation.observed_at),
        "error": error_json(observation.error),
        "chain": [certificate_json(each) for each in chain],
        "facts": dict(observation.facts),
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "rule": finding.rule,
        "severity": finding.severity,
        "location": finding.location,
        "fingerprint_sha256": finding.fingerprint.hex() if finding.fingerprint is not None else None,
        "summary": finding.summary,
        "text": finding.text,
        "runbook": finding.runbook,
        "owner": finding.owner,
        "opened_at": iso(finding.opened_at),
        "resolved_at": iso(finding.resolved_at),
    }


def place_json(place: "Place") -> dict[str, Any]:
    return {
        "location": place.location,
        "position": place.position,
        "first_seen": iso(place.first_seen),
        "last_seen": iso(place.last_seen),
        "ended_at": iso(place.ended_at),
        "owner": place.owner,
        "collectors": list(place.collectors),
        "labels": dict(place.labels),
        "error": error_json(place.error),
    }


def entry_json(entry: "Entry") -> dict[str, Any]:
    return {
        **certificate_json(entry.certificate),
        "validity": entry.validity,
        "presence": entry.presence,
        "first_seen": iso(entry.first_seen),
        "last_seen": iso(entry.last_seen),
        "locations": entry.locations,
        "places": [place_json(each) for each in entry.places],
    }


def write_json(value: object) -> None:
    """ASCII only: safe for any terminal, whatever certificates say."""
    click.echo(json.dumps(value, ensure_ascii=True, indent=2))


def write_json_list(name: str, items: Iterable[object]) -> int:
    """One object with one list, an item a line, written as they come. Returns how many there were."""
    count = 0
    click.echo(f'{{"{name}": [', nl=False)
    for item in items:
        click.echo(("," if count else "") + "\n" + json.dumps(item, ensure_ascii=True), nl=False)
        count += 1
    click.echo("\n]}" if count else "]}")
    return count


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """RFC 4180 with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([csv_cell(each) for each in row])
        if buffer.tell() > 1 << 16:
            click.echo(buffer.getvalue(), nl=False)
            buffer.seek(0)
            buffer.truncate()
    click.echo(buffer.getvalue(), nl=False)


def csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    # A spreadsheet takes such a cell for a formula, and what certificates say is hostile.
    return "'" + text if text[:1] in ("=", "+", "@", "\t", "\r") else text


CERTIFICATE_COLUMNS = (
    "fingerprint_sha256", "subject", "issuer", "serial_number", "not_before", "not_after", "names", "key_type",
    "key_bits", "key_curve", "signature_algorithm", "is_ca",
)  # fmt: skip
ENTRY_COLUMNS = (
    *CERTIFICATE_COLUMNS, "validity", "presence", "first_seen", "last_seen", "locations", "owners",
)  # fmt: skip
PLACE_COLUMNS = (
    *CERTIFICATE_COLUMNS, "validity", "presence", "location", "position", "first_seen", "last_seen", "ended_at",
    "owner", "collectors",
)  # fmt: skip


def _certificate_row(certificate: Certificate) -> list[object]:
    return [
        certificate.fingerprint_sha256.hex(),
        certificate.subject,
        certificate.issuer,
        certificate.serial_hex,
        iso(certificate.not_before),
        iso(certificate.not_after),
        " ".join(certificate.names),
        certificate.key.type,
        certificate.key.bits,
        certificate.key.curve,
        certificate.signature_algorithm,
        certificate.is_ca,
    ]


def entry_row(entry: "Entry") -> list[object]:
    """`ENTRY_COLUMNS`: one row a certificate."""
    owners = dict.fromkeys(place.owner for place in entry.places if place.owner)
    return [
        *_certificate_row(entry.certificate),
        entry.validity,
        entry.presence,
        iso(entry.first_seen),
        iso(entry.last_seen),
        entry.locations,
        " ".join(owners),
    ]


def place_rows(entry: "Entry") -> Iterator[list[object]]:
    """`PLACE_COLUMNS`: one row a certificate and place."""
    for place in entry.places:
        yield [
            *_certificate_row(entry.certificate),
            entry.validity,
            entry.presence,
            place.location,
            place.position,
            iso(place.first_seen),
            iso(place.last_seen),
            iso(place.ended_at),
            place.owner,
            " ".join(place.collectors),
        ]
