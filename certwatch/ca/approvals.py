"""Requests: some are granted at once, some wait for people. Who asks is never among those who approve."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certwatch.ca.authority import Authority, instant
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified, check, issue
from certwatch.ca.people import whose
from certwatch.ca.records import enter, said_of
from certwatch.ca.request import Order, decoded
from certwatch.model.shown import shown
from certwatch.telemetry.metrics import CA_REQUESTS, CA_WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    request: int
    #: People who must still approve.
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    id: int
    at: datetime
    order: Order
    state: str
    needed: int
    approved_by: tuple[str, ...]


def submit(authority: Authority, order: Order) -> Certified | Waiting:
    """Raises CAError; what is refused stands in the ledger."""
    with authority.turn:
        profile = authority.settings.profiles.get(order.profile)
        if profile is None or profile.approvals == 0:
            answer = issue(authority, [(order, None)])[0]
            if isinstance(answer, CAError):
                raise answer
            return answer
        try:
            check(authority, order)
        except CAError as error:
            with authority.act() as act:
                act.append(
                    "refusal",
                    [{**said_of(order), "request": None, "reason": error.kind, "why": error.message}],
                )
            CA_REQUESTS.labels(order.profile, order.channel, error.kind).inc()
            raise
        with authority.act() as act:
            [request] = enter(act, [order], needed=profile.approvals)
        CA_REQUESTS.labels(order.profile, order.channel, "waiting").inc()
        CA_WAITING.inc()
        return Waiting(request=request, needed=profile.approvals)


def requests(
    authority: Authority,
    *,
    state: str | None = "waiting",
    requester: str | None = None,
    submitter: str | None = None,
    most: int = 10_000,
) -> list[Request]:
    """Oldest first. `state`, `requester`, `submitter` None: any."""
    return [
        _request(authority, *row)
        for row in authority.rows(
            "SELECT id, at, wanted, state, needed FROM requests WHERE (?1 IS NULL OR state = ?1)"
            " AND (?2 IS NULL OR requester = ?2) AND (?3 IS NULL OR submitter = ?3) ORDER BY id LIMIT ?4",
            state,
            requester,
            submitter,
            most,
        )
    ]


def request_of(authority: Authority, id: int) -> Request:
    """Raises CAError "not-found"."""
    rows = authority.rows("SELECT id, at, wanted, state, needed FROM requests WHERE id = ?", id)
    if not rows:
        raise CAError("not-found", f"request {id}: there is none. See certwatch ca list --waiting")
    return _request(authority, *rows[0])


def _request(authority: Authority, id: int, at: int, wanted: bytes, state: str, needed: int) -> Request:
    people = authority.rows("SELECT person FROM approvals WHERE request = ? ORDER BY at", id)
    return Request(
        id=id,
        at=instant(at),
        order=decoded(wanted),
        state=state,
        needed=needed,
        approved_by=tuple(person for (person,) in people),
    )


def _waiting(authority: Authority, request: int) -> Request:
    found = request_of(authority, request)
    if found.state != "waiting":
        raise CAError("usage", f"request {request}: is {found.state}, it waits for nobody")
    return found


def approve(authority: Authority, request: int, person: str, also: Sequence[str] = ()) -> Certified | Waiting:
    """Issues with the last approval that is needed, by the rules as they are then. `also`: the person's other names. Raises
    CAError."""
    with authority.turn:
        found = _waiting(authority, request)
        names, people = (person, *also), authority.settings.people
        asker = whose(people, names, found.order.askers)
        if asker is not None:
            raise CAError(
                "refused",
                f"request {request}: {_who(person, asker)} asked for it, somebody else must approve it",
            )
        before = whose(people, names, found.approved_by)
        if before is not None:
            raise CAError(
                "refused",
                f"request {request}: {_who(person, before)} has approved it already, somebody else must too",
            )
        left = found.needed - len(found.approved_by) - 1
        with authority.act() as act:
            act.connection.execute("INSERT INTO approvals VALUES (?, ?, ?)", (request, person, act.instant))
            act.append("approval", [{"request": request, "by": person}])
            if left <= 0:
                act.connection.execute("UPDATE requests SET state = 'approved' WHERE id = ?", (request,))
        if left > 0:
            return Waiting(request=request, needed=left)
        CA_WAITING.dec()
        answer = issue(authority, [(found.order, request)])[0]
        if isinstance(answer, CAError):
            raise answer
        return answer


def _who(person: str, other: str) -> str:
    if person == other:
        return person
    return f"{shown(person)[:100]} counts as the same person as {shown(other)[:100]} (ca: people says who is who), who"


def refuse(authority: Authority, request: int, person: str) -> None:
    """Raises CAError."""
    with authority.turn:
        found = _waiting(authority, request)
        with authority.act() as act:
            act.connection.execute("UPDATE requests SET state = 'refused' WHERE id = ?", (request,))
            act.append(
                "refusal",
                [{**said_of(found.order), "request": request, "reason": "refused", "why": f"by {person}"}],
            )
        CA_WAITING.dec()
