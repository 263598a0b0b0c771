"""Silences and their rows. Written by whoever is asked to, not by the one writer alone: see `store.Store.silence`."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from certwatch.inventory.instants import from_micros, to_micros
from certwatch.inventory.session import LARGEST, Session
from certwatch.inventory.text import storable
from certwatch.model.certificate import Fingerprint
from certwatch.model.location import LocationURI
from certwatch.model.silence import Matter, Silence, SilenceID

#: Columns of a silence `s`, as `silence` takes them.
COLUMNS = "s.id, s.condition, s.rule, s.location, s.fingerprint, s.until, s.author, s.reason, s.created_at, s.ended_at"
WIDTH = COLUMNS.count(",") + 1


def silence(row: tuple[Any, ...]) -> Silence:
    id, condition, rule, location, fingerprint, until, author, reason, created_at, ended_at = row
    return Silence(
        id=SilenceID(id),
        covers=condition
        if condition is not None
        else Matter(
            rule=rule,
            location=LocationURI(location),
            fingerprint=None if fingerprint is None else Fingerprint(fingerprint),
        ),
        until=from_micros(until),
        author=author,
        reason=reason,
        created_at=from_micros(created_at),
        ended_at=from_micros(ended_at),
    )


def read_silences(connection: Session, holding_at: int | None) -> list[Silence]:
    """Newest first; None: those that hold no more as well."""
    return [
        silence(row)
        for row in connection.execute(
            f"SELECT {COLUMNS} FROM silences s WHERE ?1 IS NULL OR (s.ended_at IS NULL AND s.until > ?1)"
            " ORDER BY s.id DESC",
            (holding_at,),
        )
    ]


def revision(connection: Session) -> int:
    """Grows with each change."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'silences'").fetchone()
    return 0 if row is None else int(row[0])


def _changed(connection: Session) -> None:
    connection.execute(
        "INSERT INTO meta VALUES ('silences', 1) ON CONFLICT (key) DO UPDATE SET value = meta.value + 1"
    )


def add(connection: Session, new: Silence) -> Silence:
    matter = new.covers if isinstance(new.covers, Matter) else None
    (id,) = connection.execute(
        "INSERT INTO silences (condition, rule, location, fingerprint, until, author, reason, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            None if isinstance(new.covers, Matter) else storable(new.covers),
            storable(matter.rule) if matter is not None else None,
            storable(matter.location) if matter is not None else None,
            matter.fingerprint if matter is not None else None,
            to_micros(new.until),
            storable(new.author),
            storable(new.reason),
            to_micros(new.created_at),
        ),
    ).fetchone()
    _changed(connection)
    if matter is not None:
        _judge_again(
            connection, "location = (SELECT id FROM locations WHERE uri = ?)", (storable(matter.location),)
        )
    else:
        _judge_again(connection, "location IN (SELECT location FROM findings WHERE resolved_at IS NULL)", ())
    return replace(new, id=SilenceID(id))


def end(connection: Session, id: SilenceID, now: datetime) -> Silence | None:
    """None: there is none with that number. One that holds no more stays as it is."""
    if id > LARGEST:
        return None
    ended = connection.execute(
        "UPDATE silences SET ended_at = ?1 WHERE id = ?2 AND ended_at IS NULL AND until > ?1",
        (to_micros(now), id),
    ).rowcount
    if ended:
        _changed(connection)
        _judge_again(connection, "location IN (SELECT location FROM findings WHERE silence = ?)", (id,))
    row = connection.execute(f"SELECT {COLUMNS} FROM silences s WHERE s.id = ?", (id,)).fetchone()
    return None if row is None else silence(row)


def _judge_again(connection: Session, which: str, parameters: tuple[object, ...]) -> None:
    """Locations for which the SQL condition holds become due. A new revision too, as with other rules: what is being judged
    this moment knows the silences of before."""
    connection.execute(
        f"UPDATE judgements SET revision = revision + 1, judged = judged + 1, due_at = 0 WHERE {which}",
        parameters,
    )
