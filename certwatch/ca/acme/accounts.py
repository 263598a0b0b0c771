"""Who asks: accounts, each known by its key (RFC 8555, 7.3)."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from certwatch.ca.acme import jws
from certwatch.ca.acme.problem import Problem
from certwatch.ca.authority import Authority, instant
from certwatch.ca.failure import CAError
from certwatch.model.shown import shown

MOST_CONTACTS = 10
_MAILTO = re.compile(r"mailto:[^\s@,?&;]{1,64}@[A-Za-z0-9.-]{1,255}")
_BINDING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    id: int
    key: jws.Key
    contacts: tuple[str, ...]
    #: "valid" or "deactivated".
    status: str
    #: Key id of its external binding. None: it has none.
    binding: str | None
    created: datetime

    @property
    def requester(self) -> str:
        """As profiles and the ledger name it."""
        return f"acme:{self.binding or jws.encode(self.key.thumbprint)}"


_COLUMNS = "id, key, contacts, status, binding, created"


def _account(row: tuple[Any, ...]) -> Account:
    id, key, contacts, status, binding, created = row
    return Account(
        id=id,
        key=jws.load_key(msgspec.json.decode(key)),
        contacts=tuple(msgspec.json.decode(contacts)),
        status=status,
        binding=binding,
        created=instant(created),
    )


def by_key(authority: Authority, key: jws.Key) -> Account | None:
    rows = authority.rows(f"SELECT {_COLUMNS} FROM acme_accounts WHERE thumbprint = ?", key.thumbprint)  # noqa: S608
    return _account(rows[0]) if rows else None


def by_id(authority: Authority, id: int) -> Account | None:
    rows = authority.rows(f"SELECT {_COLUMNS} FROM acme_accounts WHERE id = ?", id)  # noqa: S608
    return _account(rows[0]) if rows else None


def contacts_of(payload: dict[str, Any]) -> tuple[str, ...] | None:
    """None: the payload says nothing of them. Raises Problem."""
    found = payload.get("contact")
    if found is None:
        return None
    if not isinstance(found, list) or len(found) > MOST_CONTACTS:
        raise Problem("invalidContact", f"contact is a list of at most {MOST_CONTACTS} URLs")
    for each in found:
        if not isinstance(each, str) or not each.startswith("mailto:"):
            raise Problem("unsupportedContact", f"{shown(str(each))[:100]}: only mailto: addresses are taken")
        if _MAILTO.fullmatch(each) is None:
            raise Problem("invalidContact", f"{shown(each)[:100]}: is not one plain e-mail address")
    return tuple(found)


def create(
    authority: Authority, key: jws.Key, contacts: tuple[str, ...], binding: str | None
) -> tuple[Account, bool]:
    """The account of `key`, and whether it is new: somebody else may have made it this moment."""
    with authority.act() as act:
        cursor = act.connection.execute(
            "INSERT INTO acme_accounts (thumbprint, key, contacts, status, binding, created)"
            " VALUES (?, ?, ?, 'valid', ?, ?) ON CONFLICT DO NOTHING",
            (key.thumbprint, key.canonical, _json(contacts), binding, act.instant),
        )
        added = cursor.rowcount > 0
        if added:
            act.append(
                "acme-account",
                [
                    {
                        "account": cursor.lastrowid,
                        "event": "created",
                        "key": jws.encode(key.thumbprint),
                        "binding": binding,
                        "contacts": contacts,
                    }
                ],
            )
    account = by_key(authority, key)
    if account is None:
        raise Problem("serverInternal", "the account that was just made is not there")
    return account, added


def set_contacts(authority: Authority, account: Account, contacts: tuple[str, ...]) -> None:
    with authority.act() as act:
        act.connection.execute(
            "UPDATE acme_accounts SET contacts = ? WHERE id = ?", (_json(contacts), account.id)
        )
        act.append("acme-account", [{"account": account.id, "event": "contacts", "contacts": contacts}])


def deactivate(authority: Authority, account: Account) -> None:
    """For good (RFC 8555, 7.3.6)."""
    with authority.act() as act:
        act.connection.execute("UPDATE acme_accounts SET status = 'deactivated' WHERE id = ?", (account.id,))
        act.append("acme-account", [{"account": account.id, "event": "deactivated"}])


def change_key(authority: Authority, account: Account, new: jws.Key) -> None:
    """Raises Problem 409 when another account has that key (RFC 8555, 7.3.5)."""
    with authority.act() as act:
        taken = act.connection.execute(
            "SELECT id FROM acme_accounts WHERE thumbprint = ?", (new.thumbprint,)
        ).fetchone()
        if taken is not None:
            raise KeyTaken(int(taken[0]))
        act.connection.execute(
            "UPDATE acme_accounts SET thumbprint = ?, key = ? WHERE id = ?",
            (new.thumbprint, new.canonical, account.id),
        )
        act.append(
            "acme-account",
            [{"account": account.id, "event": "key", "key": jws.encode(new.thumbprint)}],
        )


class KeyTaken(Exception):
    """Another account has the key."""

    def __init__(self, account: int) -> None:
        super().__init__(account)
        self.account = account


def secret_of(authority: Authority, kid: str) -> bytes:
    """The HMAC key of an external binding that accounts may still be made with. Raises Problem."""
    rows = authority.rows("SELECT secret FROM acme_bindings WHERE kid = ? AND ended IS NULL", kid)
    if not rows:
        raise Problem(
            "unauthorized",
            f"no external binding is called {shown(kid)[:100]}, or it was ended. Ask for another one",
        )
    return bytes(rows[0][0])


def bind(authority: Authority, kid: str, by: str) -> str:
    """A new external binding: its HMAC key as clients take it (base64url). Raises CAError."""
    if _BINDING.fullmatch(kid) is None:
        raise CAError(
            "usage", f"{shown(kid)[:100]}: a binding's name has letters, digits and . _ - (at most 64)"
        )
    secret = secrets.token_bytes(32)
    with authority.act() as act:
        cursor = act.connection.execute(
            "INSERT INTO acme_bindings (kid, secret, created, made_by) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (kid, secret, act.instant, by),
        )
        if not cursor.rowcount:
            raise CAError("usage", f'a binding is called "{kid}" already. Give this one another name')
        act.append(
            "acme-binding",
            [{"kid": kid, "event": "created", "by": by, "secret_sha256": sha256(secret).hexdigest()}],
        )
    return jws.encode(secret)


def maker_of(authority: Authority, account: Account) -> str:
    """Who made its binding. Empty: it has none, or nobody knows."""
    rows = authority.rows("SELECT made_by FROM acme_bindings WHERE kid = ?", account.binding)
    return str(rows[0][0]) if rows else ""


def unbind(authority: Authority, kid: str, by: str) -> int:
    """No account is made with it any more, and those that were are deactivated: how many. Raises CAError."""
    with authority.act() as act:
        cursor = act.connection.execute(
            "UPDATE acme_bindings SET ended = ? WHERE kid = ? AND ended IS NULL", (act.instant, kid)
        )
        if not cursor.rowcount:
            raise CAError("not-found", f'no binding in use is called "{shown(kid)[:100]}"')
        ended = act.connection.execute(
            "UPDATE acme_accounts SET status = 'deactivated' WHERE binding = ? AND status = 'valid'", (kid,)
        ).rowcount
        act.append("acme-binding", [{"kid": kid, "event": "ended", "by": by, "accounts": ended}])
    return ended


def _json(contacts: tuple[str, ...]) -> str:
    return msgspec.json.encode(contacts).decode()
