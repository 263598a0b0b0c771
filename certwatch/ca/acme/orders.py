"""What is asked: orders, and the authorizations that each needs first (RFC 8555, 7.1.3, 7.1.4, 7.1.6).

What follows from other rows is not stored a second time: an order is ready when all its authorizations are valid, and
valid when the CA's own books say that its certificate is issued.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import msgspec

from certwatch.ca.acme.accounts import Account
from certwatch.ca.acme.identifiers import Identifier
from certwatch.ca.acme.problem import Problem
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.ca.authority import Authority
from certwatch.ca.ledger import _Act, micros

OrderStatus = Literal["pending", "ready", "processing", "valid", "invalid"]
AuthorizationStatus = Literal["pending", "processing", "valid", "invalid", "expired", "deactivated"]

HOUR = timedelta(hours=1)
#: How long orders that came to nothing are kept: their failures are counted for an hour.
KEPT = timedelta(days=7)
MOST_OPEN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    id: str
    order: str
    account: int
    identifier: Identifier
    token: str
    status: AuthorizationStatus
    #: Type of the challenge that the client chose.
    tried: str | None
    error: dict[str, Any] | None
    #: Microseconds; when it was found valid or not.
    at: int | None
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeOrder:
    id: str
    account: int
    profile: str
    #: Serial number (hex).
    replaces: str | None
    expires: int
    request: int | None
    authorizations: tuple[Authorization, ...]
    status: OrderStatus
    #: Of the certificate.
    serial: bytes | None
    error: dict[str, Any] | None

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        return tuple(each.identifier for each in self.authorizations)


def create(
    authority: Authority,
    settings: AcmeSettings,
    account: Account,
    identifiers: Sequence[Identifier],
    profile: str,
    replaces: bytes | None,
) -> AcmeOrder:
    """Raises Problem "rateLimited"."""
    now = micros(authority.clock())
    _check_rates(authority, settings, account, identifiers, now)
    id = secrets.token_urlsafe(16)
    with authority.act() as act:
        _tidy(act)
        expires = act.instant + micros_of(settings.order_lifetime)
        act.connection.execute(
            "INSERT INTO acme_orders (id, account, profile, replaces, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
            (id, account.id, profile, replaces, act.instant, expires),
        )
        act.connection.executemany(
            'INSERT INTO acme_authorizations (id, "order", place, kind, value, wildcard, token, status)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'pending')",
            [
                (
                    secrets.token_urlsafe(16),
                    id,
                    place,
                    each.kind,
                    each.base,
                    each.is_wildcard,
                    secrets.token_urlsafe(32),
                )
                for place, each in enumerate(identifiers)
            ],
        )
    order = by_id(authority, id)
    if order is None:
        raise Problem("serverInternal", "the order that was just made is not there")
    return order


def micros_of(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _check_rates(
    authority: Authority,
    settings: AcmeSettings,
    account: Account,
    identifiers: Sequence[Identifier],
    now: int,
) -> None:
    since = now - micros_of(HOUR)
    [(recent, oldest)] = authority.rows(
        "SELECT count(*), min(created) FROM acme_orders WHERE account = ? AND created > ?", account.id, since
    )
    if recent >= settings.orders_per_hour:
        raise _too_many(
            f"{recent} orders of this account within an hour: at most {settings.orders_per_hour}", oldest, now
        )
    [(waiting,)] = authority.rows(
        "SELECT count(*) FROM acme_orders WHERE account = ? AND expires > ? AND request IS NULL",
        account.id,
        now,
    )
    if waiting >= MOST_OPEN:
        raise _too_many(
            f"{waiting} orders of this account are open: finish them or let them expire", now, now
        )
    for each in identifiers:
        [(failed, first)] = authority.rows(
            'SELECT count(*), min(a.at) FROM acme_authorizations a JOIN acme_orders o ON o.id = a."order"'
            " WHERE a.value = ? AND a.at > ? AND a.status = 'invalid' AND o.account = ?",
            each.base,
            since,
            account.id,
        )
        if failed >= settings.failures_per_hour:
            raise _too_many(
                f"{each.base}: {failed} failed validations within an hour. See why before trying again",
                first,
                now,
            )


def _too_many(detail: str, since: int, now: int) -> Problem:
    seconds = max(60, (since + micros_of(HOUR) - now) // 1_000_000)
    return Problem("rateLimited", detail, headers={"Retry-After": str(seconds)})


def _tidy(act: _Act) -> None:
    """Of orders that came to nothing, the old ones are forgotten; what was issued stays in the CA's books."""
    act.connection.execute(
        "DELETE FROM acme_orders WHERE id IN"
        " (SELECT id FROM acme_orders WHERE expires < ? AND request IS NULL LIMIT 100)",
        (act.instant - micros_of(KEPT),),
    )


def by_id(authority: Authority, id: str) -> AcmeOrder | None:
    rows = authority.rows(
        "SELECT id, account, profile, replaces, expires, request FROM acme_orders WHERE id = ?", id
    )
    if not rows:
        return None
    [(id, account, profile, replaces, expires, request)] = rows
    parts = tuple(
        _authorization(row, authority)
        for row in authority.rows(f'{_PARTS} WHERE a."order" = ? ORDER BY a.place', id)
    )
    status, serial, error = _standing(authority, parts, request, expires)
    return AcmeOrder(
        id=id,
        account=account,
        profile=profile,
        replaces=None if replaces is None else replaces.hex(),
        expires=expires,
        request=request,
        authorizations=parts,
        status=status,
        serial=serial,
        error=error,
    )


def _standing(
    authority: Authority, parts: Sequence[Authorization], request: int | None, expires: int
) -> tuple[OrderStatus, bytes | None, dict[str, Any] | None]:
    if request is not None:
        return _by_the_books(authority, request)
    failed = [each for each in parts if each.status in ("invalid", "expired", "deactivated")]
    if failed:
        if failed[0].status == "expired" or failed[0].error is None:
            what = f"the authorization of {failed[0].identifier.value} is {failed[0].status}"
            return "invalid", None, Problem("unauthorized", what).document()
        return "invalid", None, failed[0].error
    if micros(authority.clock()) > expires:
        return "invalid", None, Problem("malformed", "the order has expired. Make another one").document()
    return ("ready" if all(each.status == "valid" for each in parts) else "pending"), None, None


def _by_the_books(
    authority: Authority, request: int
) -> tuple[OrderStatus, bytes | None, dict[str, Any] | None]:
    made = authority.rows(
        "SELECT serial, state FROM certificates WHERE request = ? ORDER BY state = 'issued' DESC LIMIT 1",
        request,
    )
    if made and made[0][1] == "issued":
        return "valid", bytes(made[0][0]), None
    [(state,)] = authority.rows("SELECT state FROM requests WHERE id = ?", request)
    if state == "refused":
        return (
            "invalid",
            None,
            Problem("unauthorized", "the request was refused by the CA's people").document(),
        )
    if made and made[0][1] in ("failed", "lost"):
        why = "the certificate could not be made. Make another order"
        return "invalid", None, Problem("serverInternal", why).document()
    return "processing", None, None


_PARTS = (
    'SELECT a.id, a."order", o.account, a.kind, a.value, a.wildcard, a.token, a.status, a.tried, a.error, a.at, o.expires,'
    ' o.request FROM acme_authorizations a JOIN acme_orders o ON o.id = a."order"'
)


def _authorization(row: tuple[Any, ...], authority: Authority) -> Authorization:
    id, order, account, kind, value, wildcard, token, status, tried, error, at, expires, request = row
    if (
        request is None
        and status in ("pending", "processing", "valid")
        and micros(authority.clock()) > expires
    ):
        status = "expired"
    return Authorization(
        id=id,
        order=order,
        account=account,
        identifier=Identifier(kind, f"*.{value}" if wildcard else value),
        token=token,
        status=status,
        tried=tried,
        error=None if error is None else msgspec.json.decode(error),
        at=at,
        expires=expires,
    )


def authorization(authority: Authority, id: str) -> Authorization | None:
    rows = authority.rows(f"{_PARTS} WHERE a.id = ?", id)
    return _authorization(rows[0], authority) if rows else None


def processing(authority: Authority) -> list[Authorization]:
    """Those whose validation had begun: after a restart it begins again."""
    return [
        _authorization(row, authority) for row in authority.rows(f"{_PARTS} WHERE a.status = 'processing'")
    ]


def of_account(authority: Authority, account: Account, *, after: str, limit: int) -> list[str]:
    """Ids of its orders that are not over, in the ids' order."""
    return [
        id
        for (id,) in authority.rows(
            "SELECT id FROM acme_orders WHERE account = ? AND id > ? AND (expires > ? OR request IS NOT NULL)"
            " ORDER BY id LIMIT ?",
            account.id,
            after,
            micros(authority.clock()),
            limit,
        )
    ]


def begin(authority: Authority, id: str, challenge: str) -> bool:
    """The client says that it is ready. False: it said so before, of this challenge or another."""
    with authority.act() as act:
        return (
            act.connection.execute(
                "UPDATE acme_authorizations SET status = 'processing', tried = ? WHERE id = ? AND status = 'pending'",
                (challenge, id),
            ).rowcount
            > 0
        )


def end(authority: Authority, part: Authorization, problem: Problem | None) -> None:
    """What the validation came to; it stands in the ledger. Of one that was deactivated meanwhile, nothing is kept."""
    status = "valid" if problem is None else "invalid"
    error = None if problem is None else msgspec.json.encode(problem.document())
    with authority.act() as act:
        kept = act.connection.execute(
            "UPDATE acme_authorizations SET status = ?, error = ?, at = ? WHERE id = ? AND status = 'processing'",
            (status, error, act.instant, part.id),
        ).rowcount
        if kept:
            act.append(
                "acme-validation",
                [
                    {
                        "account": part.account,
                        "order": part.order,
                        "name": part.identifier.name,
                        "method": part.tried,
                        "outcome": status,
                        "why": None if problem is None else problem.detail[:500],
                    }
                ],
            )


def deactivate(authority: Authority, id: str) -> None:
    """RFC 8555, 7.5.2."""
    with authority.act() as act:
        act.connection.execute(
            "UPDATE acme_authorizations SET status = 'deactivated' WHERE id = ?"
            " AND status IN ('pending', 'processing', 'valid')",
            (id,),
        )
