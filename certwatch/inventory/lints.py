"""What the linter found, by certificate."""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from certwatch.inventory.served import in_chunks
from certwatch.inventory.store import Unlinted
from certwatch.model.certificate import Fingerprint
from certwatch.model.lint import Lint
from certwatch.model.sighting import Served


def unlinted(connection: sqlite3.Connection, limit: int, *, linter: str) -> list[Unlinted]:
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('linted', 'linter')"))
    last = meta.get("linted", 0) if meta.get("linter") == linter else 0
    return [
        Unlinted(id=id, der=der)
        for id, der in connection.execute(
            "SELECT certificate, der FROM ders WHERE certificate > ? ORDER BY certificate LIMIT ?",
            (last, limit),
        )
    ]


def record(
    connection: sqlite3.Connection,
    found: Sequence[tuple[int, Sequence[Lint]]],
    *,
    through: int,
    linter: str,
) -> None:
    """See `store.Writer.record_lints`; within the caller's transaction."""
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('linted', 'linter')"))
    first = meta.get("linted", 0) if meta.get("linter") == linter else 0
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
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [("linted", through), ("linter", linter)],
    )
    connection.executemany(
        "UPDATE judgements SET due_at = 0 WHERE location IN"
        " (SELECT location FROM sightings WHERE certificate = ? AND ended_at IS NULL)",
        [(id,) for id in sorted({*before, *(id for id, _ in found)})],
    )


def load(
    connection: sqlite3.Connection, places: Sequence[Served]
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
