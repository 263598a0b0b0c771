"""Every row of the CA's tables held against what the ledger says: what was changed, added or removed in a table is named."""

import hashlib
import sqlite3
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from certwatch.ca.audit_entries import Part, Said
from certwatch.ca.ledger import row_digest

#: How long the row of a used enrolment token stays after its end.
ENROLMENT_KEPT_SECONDS = 3600

Say = Callable[[str], None]


def check(connection: sqlite3.Connection, said: Said, say: Say) -> int:
    """All tables. Returns how many certificates there are."""
    certificates = _check_certificates(connection, said, say)
    _check_requests(connection, said, say)
    _check_issuers(connection, said, say)
    _check_crls(connection, said, say)
    _check_enrolments(connection, said, say)
    for wrong in (
        *_wrong_bindings(connection, said),
        *_wrong_accounts(connection, said),
        *_wrong_orders(connection, said),
    ):
        say(wrong)
    _check_called(connection, said, say)
    return certificates


def _check_certificates(connection: sqlite3.Connection, said: Said, say: Say) -> int:
    seen: set[str] = set()
    shards: Counter[tuple[int, int]] = Counter()
    for key, state, der, revoked, reason, shard, issuer, *rest in connection.execute(
        "SELECT serial, state, der, revoked, reason, shard, issuer, request, profile, requester, names, not_before,"
        " not_after, replaces FROM certificates ORDER BY serial"
    ):
        serial = key.hex()
        seen.add(serial)
        shards[issuer, shard] += 1
        if serial not in said.intents:
            say(f"certificate {serial}: the ledger has no intent for it")
        elif (row := said.intents[serial]) is not None and row != row_digest(issuer, shard, *rest):
            say(
                f"certificate {serial}: its row was changed (issuer, request, profile, requester, names, CRL, validity or"
                " what it replaces)"
            )
        digest = said.certificates.get(serial)
        if state == "issued" and (der is None or digest is None):
            say(f"certificate {serial}: is issued, and the ledger does not have it")
        elif der is not None and hashlib.sha256(der).hexdigest() != digest:
            say(f"certificate {serial}: was changed: it is not the one that the ledger has")
        elif state != "issued" and digest is not None:
            say(f"certificate {serial}: the ledger says that it was issued, its row says {state}")
        if state == "failed" and serial not in said.failures:
            say(f"certificate {serial}: its row says failed, the ledger does not")
        why, at = said.revocations.get(serial, (None, None))
        if (revoked is None) != (why is None) or (why is not None and why != reason):
            say(
                f"certificate {serial}: its row says {reason or 'not revoked'}, the ledger {why or 'not revoked'}"
            )
        elif revoked != at:
            say(f"certificate {serial}: its row says another time of its revocation than the ledger")
    for serial in sorted((said.intents.keys() | said.certificates.keys()) - seen):
        say(f"certificate {serial}: its row was removed; the ledger has it")
    stored = {
        (issuer, shard): count
        for issuer, shard, count in connection.execute("SELECT issuer, shard, certificates FROM shards")
    }
    for key in sorted(stored.keys() | shards.keys()):
        if stored.get(key) != shards.get(key):
            say(
                f"CRL {key[0]}/{key[1]}: has {shards[key]} certificates, its row in shards says {stored.get(key, 'nothing')}"
            )
    return len(seen)


def _check_requests(connection: sqlite3.Connection, said: Said, say: Say) -> None:
    given: Counter[int] = Counter()
    approvals = {
        (request, person): at
        for request, person, at in connection.execute("SELECT request, person, at FROM approvals")
    }
    for request, person in sorted(approvals.keys() | said.approvals.keys()):
        stored, entered = approvals.get((request, person)), said.approvals.get((request, person))
        if stored is None:
            say(f"approval of request {request} by {person}: was removed; the ledger has it")
        elif entered is None:
            say(f"approval of request {request} by {person}: is not in the ledger")
        elif stored != entered:
            say(f"approval of request {request} by {person}: its row says another time than the ledger")
        given[request] += entered is not None
    seen: set[int] = set()
    for id, state, needed, *rest in connection.execute(
        "SELECT id, state, needed, at, channel, requester, submitter, profile, wanted FROM requests"
    ):
        seen.add(id)
        if id not in said.requests:
            say(f"request {id}: is not in the ledger")
            continue
        approvals_needed, row = said.requests[id]
        if needed != approvals_needed or (row is not None and row != row_digest(needed, *rest)):
            say(f"request {id}: was changed: it is not what was asked for by the ledger")
        if state not in _states(said, id, given[id] >= needed):
            say(f"request {id}: its row says {state}, which the ledger does not bear out")
    for id in sorted(said.requests.keys() - seen):
        say(f"request {id}: was removed; the ledger has it")


def _states(said: Said, request: int, is_approved: bool) -> tuple[str, ...]:
    if request in said.issued:
        return ("issued",)
    if request in said.refused:
        return ("refused",)
    return ("approved",) if is_approved else ("waiting",)


def _check_issuers(connection: sqlite3.Connection, said: Said, say: Say) -> None:
    names: dict[int, str] = dict(connection.execute("SELECT id, name FROM issuers"))
    for name, kind, key, certificate, chain, retired, environment, successor in connection.execute(
        "SELECT name, kind, key, certificate, chain, retired, environment, successor FROM issuers"
    ):
        issuer = said.issuers.get(name)
        if issuer is None:
            say(f"issuer {name}: is not in the ledger")
            continue
        if (None if certificate is None else hashlib.sha256(certificate).hexdigest()) != issuer.sha256:
            say(f"issuer {name}: its certificate is not the one that the ledger has")
        if issuer.chain_sha256 is not None and hashlib.sha256(chain).hexdigest() != issuer.chain_sha256:
            say(f"issuer {name}: its chain is not the one that the ledger has")
        for what, stored, entered in (
            ("kind", kind == "root", issuer.root),
            ("key", key, issuer.key),
            ("environment", environment, issuer.environment),
            ("successor", names.get(successor), issuer.successor),
            ("retirement", retired, issuer.retired),
        ):
            if stored != entered:
                say(f"issuer {name}: its {what} is not the one that the ledger has")
    for name in sorted(said.issuers.keys() - set(names.values())):
        if said.issuers[name].sha256 is not None or not said.issuers[name].root:
            say(f"issuer {name}: its row was removed; the ledger has it")
    seen: set[str] = set()
    for id, key, der in connection.execute("SELECT issuer, key, certificate FROM responders"):
        name = names.get(id, str(id))
        seen.add(name)
        entry = said.responders.get(name)
        digest = said.certificates.get(entry.serial) if entry is not None else None
        if entry is None or key != entry.key or hashlib.sha256(der).hexdigest() != digest:
            say(f"responder of {name}: is not the one that the ledger has")
    for name in sorted(said.responders.keys() - seen):
        say(f"responder of {name}: its row was removed; the ledger has it")


def _check_crls(connection: sqlite3.Connection, said: Said, say: Say) -> None:
    of = "JOIN issuers ON issuers.id = c.issuer"
    seen: set[Part] = set()
    for issuer, shard, number, begin, end, der in connection.execute(
        f"SELECT issuers.name, shard, number, this_update, next_update, der FROM crls c {of}"  # noqa: S608
    ):
        seen.add((issuer, shard))
        entry = said.crls.get((issuer, shard))
        if (
            entry is None
            or hashlib.sha256(der).hexdigest() != entry.sha256
            or (number, end) != (entry.number, entry.next_update)
            or begin != (begin if entry.this_update is None else entry.this_update)
        ):
            say(f"CRL {issuer}/{shard}: is not the one that the ledger has")
    for issuer, shard in sorted(said.crls.keys() - seen):
        say(f"CRL {issuer}/{shard}: its row was removed; the ledger has it")
    deltas = {
        (issuer, shard): (number, base, end, hashlib.sha256(der).hexdigest())
        for issuer, shard, number, base, end, der in connection.execute(
            f"SELECT issuers.name, shard, number, base, next_update, der FROM delta_crls c {of}"  # noqa: S608
        )
    }
    bases = {
        (issuer, shard): (number, begin)
        for issuer, shard, number, begin in connection.execute(
            f"SELECT issuers.name, shard, number, this_update FROM crl_bases c {of}"  # noqa: S608
        )
    }
    for part in sorted(deltas.keys() | bases.keys() | said.deltas.keys()):
        entry = said.deltas.get(part)
        if entry is None or deltas.get(part) != (
            entry.number,
            entry.base,
            entry.next_update,
            entry.delta_sha256,
        ):
            say(f"delta CRL {part[0]}/{part[1]}: is not the one that the ledger has")
        elif entry.base_update is not None and bases.get(part) != (entry.base, entry.base_update):
            say(f"delta CRL {part[0]}/{part[1]}: its base is not the one that the ledger has")


def _check_enrolments(connection: sqlite3.Connection, said: Said, say: Say) -> None:
    stored: dict[str, int] = dict(connection.execute("SELECT id, ends FROM enrolments"))
    for id, ends in stored.items():
        if id not in said.enrolled:
            say(f"enrolment token {id}: its row says that it was used, the ledger does not")
        elif said.enrolled[id] not in (None, ends):
            say(f"enrolment token {id}: its row says another end than the ledger")
    for id, entered in said.enrolled.items():
        if (
            id not in stored
            and entered is not None
            and entered >= said.last // 1_000_000 - ENROLMENT_KEPT_SECONDS
        ):
            say(f"enrolment token {id}: was used, and its row was removed: it could be used again")


def _wrong_bindings(connection: sqlite3.Connection, said: Said) -> Iterator[str]:
    seen: set[str] = set()
    for kid, secret, ended, made_by in connection.execute(
        "SELECT kid, secret, ended, made_by FROM acme_bindings"
    ):
        seen.add(kid)
        entry = said.bindings.get(kid)
        if entry is None or ended != entry.ended:
            yield f"ACME binding {kid}: is not as the ledger has it"
        elif entry.secret_sha256 is not None and (hashlib.sha256(secret).hexdigest(), made_by) != (
            entry.secret_sha256,
            entry.by,
        ):
            yield f"ACME binding {kid}: its secret or its maker was changed"
    yield from (
        f"ACME binding {kid}: its row was removed; the ledger has it"
        for kid in sorted(said.bindings.keys() - seen)
    )


def _wrong_accounts(connection: sqlite3.Connection, said: Said) -> Iterator[str]:
    seen: set[int] = set()
    for id, thumbprint, key, contacts, status, binding in connection.execute(
        "SELECT id, thumbprint, key, contacts, status, binding FROM acme_accounts"
    ):
        seen.add(id)
        entry = said.accounts.get(id)
        if entry is None:
            yield f"ACME account {id}: is not in the ledger"
            continue
        if not thumbprint == hashlib.sha256(key).digest() == urlsafe_b64decode(entry.key + "=="):
            yield f"ACME account {id}: its key is not the one that the ledger has"
        if (status, binding) != (entry.status, entry.binding) or contacts != msgspec.json.encode(
            entry.contacts
        ).decode():
            yield f"ACME account {id}: its status, binding or contacts are not those that the ledger has"
    yield from (
        f"ACME account {id}: its row was removed; the ledger has it"
        for id in sorted(said.accounts.keys() - seen)
    )


def _wrong_orders(connection: sqlite3.Connection, said: Said) -> Iterator[str]:
    """Orders that came to nothing are forgotten in time; what was found valid, and whose it is, is proven while it stands."""
    for id, order, account, kind, value, wildcard, status, tried in connection.execute(
        'SELECT a.id, a."order", o.account, kind, value, wildcard, status, tried FROM acme_authorizations a'
        ' JOIN acme_orders o ON o.id = a."order"'
    ):
        name = f"{kind}:*.{value}" if wildcard else f"{kind}:{value}"
        entry = said.validations.get((order, name))
        if status in ("valid", "invalid") and (
            entry is None or (entry.outcome, entry.method) != (status, tried)
        ):
            yield f"ACME authorization {id} of {name}: its row says {status}, which the ledger does not bear out"
        elif entry is not None and entry.account != account:
            yield f"ACME order {order}: its row gives it to account {account}, the ledger to {entry.account}"


def _check_called(connection: sqlite3.Connection, said: Said, say: Say) -> None:
    stored = {
        serial.hex(): (at, why)
        for serial, at, why in connection.execute("SELECT serial, at, why FROM acme_renew_now")
    }
    for serial in sorted(stored.keys() | said.called.keys()):
        if serial not in said.called:
            if not said.called_unnamed:
                say(f"certificate {serial}: its row says that its client is to renew, the ledger does not")
        elif stored.get(serial) != said.called[serial]:
            say(
                f"certificate {serial}: its client was told to renew, and the row of it was changed or removed"
            )
