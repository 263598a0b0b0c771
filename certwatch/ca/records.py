"""What issuing writes: requests, intents and certificates as rows, and the entries that say so, many in one statement each."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from certwatch.ca.certificate import Draft, Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.ledger import _Act, micros, row_digest
from certwatch.ca.profiles import Profile
from certwatch.ca.request import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is to be signed, and for what."""

    order: Order
    request: int | None
    profile: Profile
    issuer: Issuer
    draft: Draft
    tbs: bytes
    lint: str
    #: 16 bytes or more.
    serial: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    prepared: Prepared
    request: int
    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    prepared: Prepared
    request: int
    error: CAError


def said_of(order: Order) -> dict[str, object]:
    """Of an order, what the ledger has."""
    return {
        "channel": order.channel,
        "requester": order.requester,
        "submitter": order.submitter,
        "profile": order.profile,
        "names": order.names[:100],
        "subject": [f"{short}={value}" for short, value in order.subject],
        "key_sha256": hashlib.sha256(order.public_key).hexdigest(),
    }


def enter(act: _Act, orders: Sequence[Order], *, needed: int) -> list[int]:
    """Write down requests for which `needed` people must approve: their numbers. 0: they may be issued."""
    if not orders:
        return []
    # As AUTOINCREMENT would number them; a statement for each would cost as much as all the rest.
    last = act.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'requests'").fetchone()
    first = (last[0] if last is not None else 0) + 1
    state = "waiting" if needed else "approved"
    rows = [
        (needed, act.instant, each.channel, each.requester, each.submitter, each.profile, each.encoded())
        for each in orders
    ]
    requests = [*range(first, first + len(orders))]
    act.connection.executemany(
        "INSERT INTO requests (id, state, needed, at, channel, requester, submitter, profile, wanted)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(id, state, *row) for id, row in zip(requests, rows, strict=True)],
    )
    act.append(
        "request",
        [
            {**said_of(order), "request": id, "approvals": needed, "row": row_digest(*row)}
            for order, id, row in zip(orders, requests, rows, strict=True)
        ],
    )
    return requests


def write_intents(
    act: _Act, orders: Sequence[tuple[Order, int | None]], prepared: Sequence[Prepared | CAError]
) -> list[int | None]:
    """Returns the requests' ids. None: it was refused before it was one."""
    requests = [request for _, request in orders]
    refusals: list[dict[str, object]] = []
    fresh: list[int] = []
    for place, ((order, request), each) in enumerate(zip(orders, prepared, strict=True)):
        if isinstance(each, CAError):
            if request is not None:
                act.connection.execute("UPDATE requests SET state = 'refused' WHERE id = ?", (request,))
            refusals.append({**said_of(order), "request": request, "reason": each.kind, "why": each.message})
        elif request is None:
            fresh.append(place)
    act.append("refusal", refusals)
    for place, id in zip(fresh, enter(act, [orders[place][0] for place in fresh], needed=0), strict=True):
        requests[place] = id
    good = [
        (each, request)
        for each, request in zip(prepared, requests, strict=True)
        if not isinstance(each, CAError)
    ]
    rows = [
        (
            each.issuer.id,
            each.draft.shard,
            request,
            each.profile.name,
            each.order.requester,
            " ".join(each.order.names),
            micros(each.draft.not_before),
            micros(each.draft.not_after),
            bytes.fromhex(each.order.replaces) if each.order.replaces else None,
        )
        for each, request in good
    ]
    act.connection.executemany(
        "INSERT INTO certificates (serial, issuer, shard, request, profile, requester, names, not_before, not_after,"
        " replaces, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'intended')",
        [(each.serial, *row) for (each, _), row in zip(good, rows, strict=True)],
    )
    act.connection.executemany(
        "INSERT INTO shards VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET certificates = certificates + excluded.certificates",
        [
            (*key, count)
            for key, count in Counter((each.issuer.id, each.draft.shard) for each, _ in good).items()
        ],
    )
    act.append(
        "intent",
        [
            {
                "serial": each.serial.hex(),
                "request": request,
                "issuer": each.issuer.name,
                "profile": each.profile.name,
                "names": each.order.names,
                "not_after": row[7],
                "tbs_sha256": hashlib.sha256(each.tbs).hexdigest(),
                "lint": each.lint,
                "row": row_digest(*row),
            }
            for (each, request), row in zip(good, rows, strict=True)
        ],
    )
    return requests


def write_certificates(act: _Act, signed: Sequence[Signed], failed: Sequence[Failed]) -> None:
    act.connection.executemany(
        "UPDATE certificates SET state = 'issued', der = ? WHERE serial = ?",
        [(each.der, each.prepared.serial) for each in signed],
    )
    act.connection.executemany(
        "UPDATE requests SET state = 'issued' WHERE id = ?", [(each.request,) for each in signed]
    )
    act.connection.executemany(
        "UPDATE certificates SET state = 'failed' WHERE serial = ?",
        [(each.prepared.serial,) for each in failed],
    )
    act.append(
        "certificate",
        [
            {
                "serial": each.prepared.serial.hex(),
                "request": each.request,
                "sha256": hashlib.sha256(each.der).hexdigest(),
            }
            for each in signed
        ],
    )
    act.append(
        "failure",
        [
            {"serial": each.prepared.serial.hex(), "request": each.request, "reason": each.error.kind}
            for each in failed
        ],
    )
