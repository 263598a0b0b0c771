"""What the linter found, by certificate."""

import json
from collections.abc import Mapping, Sequence

from certwatch.inventory.served import in_chunks
from certwatch.inventory.session import Session
from certwatch.inventory.store import Unlinted
from certwatch.model.certificate import Fingerprint
from certwatch.model.lint import Lint
from certwatch.model.sighting import Served


def unlinted(connection: Session, limit: int, *, linter: str) -> list[Unlinted]:
    last = _linted(connection, linter)
    return [
        Unlinted(id=id, der=der)
        for id, der in connection.execute(
            "SELECT certificate, der FROM ders WHERE certificate > ? ORDER BY certificate LIMIT ?",
            (last, limit),
        )
    ]


def _linted(connection: Session, linter: str) -> int:
    """The last certificate that this linter has seen."""
    row = connection.execute(f"SELECT value FROM {connection.texts} WHERE key = 'linter'").fetchone()
    if row is None or row[0] != linter:
        return 0
    row = connection.execute("SELECT value FROM meta WHERE key = 'linted'").fetchone()
    return 0 if row is None else int(row[0])


def record(
    connection: Session,
    found: Sequence[tuple[int, Sequence[Lint]]],
    *,
    through: int,
    linter: str,
) -> None:
    """See `store.Writer.record_lints`; within the caller's transaction."""
    first = _linted(connection, linter)
    # What another linter found in these, and this one does not, is no more.
    before = [
        id
        for (id,) in connection.execute(
            "SELECT certificate FROM lints WHERE certificate > ? AND certificate <= ?", (first, through)
        )
    ]
    connection.execute("DELETE FROM lints WHERE certificate > ? AND certificate <= ?", (first, through))
    connection.executemany(
        # It may be forgotten since it was read.
        "INSERT INTO lints SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM certificates WHERE id = ?1)",
        [
            (
                id,
                json.dumps([(it.profile, it.severity, it.code, it.message) for it in each]),
            )
            for id, each in found
        ],
    )
    for table, key, value in (("meta", "linted", through), (connection.texts, "linter", linter)):
        connection.execute(
            f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )
    connection.executemany(
        "UPDATE judgements SET due_at = 0 WHERE location IN"
        " (SELECT location FROM sightings WHERE certificate = ? AND ended_at IS NULL)",
        [(id,) for id in sorted({*before, *(id for id, _ in found)})],
    )


def load(
    connection: Session, places: Sequence[Served]
) -> Mapping[int, Mapping[Fingerprint, tuple[Lint, ...]]]:
    """By location's id; those without are absent. The caller holds a snapshot."""
    if connection.execute("SELECT max(certificate) FROM lints").fetchone() == (None,):
        return {}
    wanted = {certificate.fingerprint_sha256 for each in places for certificate in each.chain}
    found = {
        Fingerprint(fingerprint): _lints(text)
        for fingerprint, text in in_chunks(
            connection,
            "SELECT c.fingerprint, n.found FROM lints n JOIN certificates c ON c.id = n.certificate"
            " WHERE c.fingerprint IN ({})",
            sorted(wanted),
        )
    }
    if not found:
        return {}
    result = {}
    for each in places:
        chain = {
            certificate.fingerprint_sha256: found[certificate.fingerprint_sha256]
            for certificate in each.chain
            if certificate.fingerprint_sha256 in found
        }
        if chain:
            result[each.id] = chain
    return result


def _lints(text: str) -> tuple[Lint, ...]:
    return tuple(
        Lint(profile=profile, severity=severity, code=code, message=message)
        for profile, severity, code, message in json.loads(text)
    )
