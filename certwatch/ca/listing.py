"""What the CA has made and what waits, for people and programs: read beside a CA at work, without its lock."""

from pathlib import Path
from typing import Any

from certwatch.ca import database
from certwatch.ca.authority import instant
from certwatch.ca.request import decoded
from certwatch.model.instants import iso


def _rows(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = database.open_existing(directory, write=False)
    try:
        with database.translate(database.file_of(directory)):
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


def certificates(directory: Path) -> list[dict[str, Any]]:
    """Newest end of validity first. Raises CAError."""
    return [
        {
            "serial": serial.hex(),
            "state": "revoked" if revoked is not None and state == "issued" else state,
            "profile": profile,
            "names": names.split(),
            "requester": requester,
            "issuer": issuer,
            "not_before": iso(instant(begin)),
            "not_after": iso(instant(end)),
            "revoked_at": iso(instant(revoked)) if revoked is not None else None,
            "reason": reason,
        }
        for serial, state, profile, names, requester, issuer, begin, end, revoked, reason in _rows(
            directory,
            "SELECT serial, state, profile, names, requester, issuers.name, not_before, not_after, revoked, reason"
            " FROM certificates JOIN issuers ON issuers.id = certificates.issuer ORDER BY not_after DESC, serial",
        )
    ]


def waiting(directory: Path) -> list[dict[str, Any]]:
    """Oldest first. Raises CAError."""
    found = []
    for id, at, wanted, needed, people in _rows(
        directory,
        "SELECT id, requests.at, wanted, needed, group_concat(person, char(10)) FROM requests"
        " LEFT JOIN approvals ON approvals.request = requests.id WHERE state = 'waiting' GROUP BY id ORDER BY id",
    ):
        order = decoded(wanted)
        found.append(
            {
                "request": id,
                "at": iso(instant(at)),
                "profile": order.profile,
                "requester": order.requester,
                "submitter": order.submitter,
                "names": list(order.names),
                "approved_by": people.split("\n") if people else [],
                "needed": needed,
            }
        )
    return found
