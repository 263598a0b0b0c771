"""Certificates, each kept once by its fingerprint: only those not yet known are parsed."""

from collections.abc import Iterable

from certwatch.inventory import totals
from certwatch.inventory.instants import MICROS, UNREADABLE
from certwatch.inventory.looks import Look
from certwatch.inventory.reversed_names import reversed_names
from certwatch.inventory.session import Session
from certwatch.inventory.text import storable


def keep(connection: Session, looks: Iterable[Look]) -> tuple[dict[bytes, int], int]:
    """Ids by fingerprint of every certificate in `looks`, and how many of them are new."""
    ders = {
        fingerprint: der
        for look in looks
        for fingerprint, der in zip(look.fingerprints, look.chain, strict=True)
    }
    if not ders:
        return {}, 0
    marks = ",".join("?" * len(ders))
    ids: dict[bytes, int] = dict(
        connection.execute(
            f"SELECT fingerprint, id FROM certificates WHERE fingerprint IN ({marks})",
            list(ders),
        )
    )
    unknown = [(fingerprint, der) for fingerprint, der in ders.items() if fingerprint not in ids]
    if unknown:
        ids |= _add(connection, unknown)
    return ids, len(unknown)


def _add(connection: Session, unknown: list[tuple[bytes, bytes]]) -> dict[bytes, int]:
    from certwatch.x509.outline import outline

    ids, rows, names, issuers = {}, [], [], dict[str, int]()
    for id, (fingerprint, der) in zip(
        connection.next_ids("certificates", len(unknown)), unknown, strict=True
    ):
        read = outline(der)
        issuer = storable(read.issuer)
        if issuer not in issuers:
            issuers[issuer] = _issuer(connection, issuer)
        ids[fingerprint] = id
        rows.append(
            (
                id,
                fingerprint,
                read.serial,
                read.spki_sha256,
                read.tbs_sha256,
                UNREADABLE if read.not_before is None else read.not_before * MICROS,
                UNREADABLE if read.not_after is None else read.not_after * MICROS,
                storable(read.subject),
                issuers[issuer],
            )
        )
        names += [(name, id) for name in reversed_names(read.names)]
    connection.insert("certificates", rows)
    connection.insert("ders", [(ids[fingerprint], der) for fingerprint, der in unknown])
    # Sorted: neighbours in the tree are written together.
    names.sort()
    connection.insert("names", names)
    totals.grow(connection, "certificates", len(rows))
    return ids


def _issuer(connection: Session, name: str) -> int:
    row = connection.execute("SELECT id FROM issuers WHERE name = ?", (name,)).fetchone()
    if row is None:
        row = connection.execute("INSERT INTO issuers (name) VALUES (?) RETURNING id", (name,)).fetchone()
    return int(row[0])
