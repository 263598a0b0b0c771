"""Marks and their rows. Written by whoever is asked to, beside the one writer: see `store.Store.mark`."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from certwatch.inventory.instants import from_micros, to_micros
from certwatch.inventory.session import LARGEST, Session
from certwatch.inventory.text import storable
from certwatch.model.mark import Mark, MarkID

_COLUMNS = "id, kind, der, author, reason, created_at, ended_at"


def _mark(row: tuple[Any, ...]) -> Mark:
    from certwatch.x509.der import read

    id, kind, der, author, reason, created_at, ended_at = row
    return Mark(
        id=MarkID(id),
        kind=kind,
        certificate=read(der),
        author=author,
        reason=reason,
        created_at=from_micros(created_at),
        ended_at=from_micros(ended_at),
    )


def read_marks(connection: Session) -> list[Mark]:
    """Newest first, those that were taken back too."""
    return [
        _mark(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM marks ORDER BY id DESC").fetchall()
    ]


def revision(connection: Session) -> int:
    """Grows with each change."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'marks'").fetchone()
    return 0 if row is None else int(row[0])


def add(connection: Session, new: Mark) -> Mark:
    (id,) = connection.execute(
        "INSERT INTO marks (kind, der, author, reason, created_at) VALUES (?, ?, ?, ?, ?) RETURNING id",
        (
            new.kind,
            new.certificate.der,
            storable(new.author),
            storable(new.reason),
            to_micros(new.created_at),
        ),
    ).fetchone()
    _changed(connection, new)
    return replace(new, id=MarkID(id))


def end(connection: Session, id: MarkID, now: datetime) -> Mark | None:
    """None: there is none with that number. One that was taken back stays as it is."""
    if id > LARGEST:
        return None
    ended = connection.execute(
        "UPDATE marks SET ended_at = ? WHERE id = ? AND ended_at IS NULL", (to_micros(now), id)
    ).rowcount
    row = connection.execute(f"SELECT {_COLUMNS} FROM marks WHERE id = ?", (id,)).fetchone()
    if row is None:
        return None
    mark = _mark(row)
    if ended:
        _changed(connection, mark)
    return mark


#: Certificates that a mark may be about: of that key or issuance, or issued by a CA of that name. Reads through all certificates: a mark
#: is set once in a blue moon.
_ABOUT = """
SELECT s.location FROM sightings s JOIN certificates c ON c.id = s.certificate
WHERE s.ended_at IS NULL AND (c.fingerprint = ?1 OR c.spki = ?2 OR c.tbs = ?5
    OR c.issuer IN (SELECT id FROM issuers WHERE ?3 = 1 AND name = ?4))
"""


def _changed(connection: Session, mark: Mark) -> None:
    """The places that it may be about become due. A new revision too, as with other rules: what is being judged this moment
    knows the marks of before."""
    connection.execute(
        "INSERT INTO meta VALUES ('marks', 1) ON CONFLICT (key) DO UPDATE SET value = meta.value + 1"
    )
    about = mark.certificate
    connection.execute(
        f"UPDATE judgements SET revision = revision + 1, judged = judged + 1, due_at = 0 WHERE location IN ({_ABOUT})",
        (
            about.fingerprint_sha256,
            about.spki_sha256 if mark.kind in ("compromised", "authorised-key") else None,
            int(mark.kind == "compromised" and about.is_ca),
            about.subject,
            about.tbs_sha256 if mark.kind == "authorised" else None,
        ),
    )
