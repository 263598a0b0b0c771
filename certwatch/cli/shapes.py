"""What programs read: JSON (shapes: inventory/shapes.py) and CSV. A contract: add to it, change nothing."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from certwatch.inventory.shapes import (
    certificate_json,
    entry_json,
    error_json,
    finding_json,
    observation_json,
    place_json,
    silence_json,
)
from certwatch.model.certificate import Certificate
from certwatch.model.instants import iso

if TYPE_CHECKING:
    from certwatch.inventory.store import Entry

__all__ = [
    "ENTRY_COLUMNS", "PLACE_COLUMNS", "certificate_json", "csv_cell", "entry_json", "entry_row", "error_json",
    "finding_json", "observation_json", "place_json", "place_rows", "silence_json", "write_csv", "write_json", "write_json_list",
]  # fmt: skip


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
