"""The one line where PostgreSQL's errors become the inventory's."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from certwatch.inventory.failures import Gone
from certwatch.inventory.store import InventoryError, InventoryErrorKind

#: By SQLSTATE, or its class (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_KINDS: dict[str, InventoryErrorKind] = {
    "08": "unreachable",
    "25006": "read-only",
    "25P03": "unreachable",  # idle in a transaction for too long: this process stood still
    "28": "unreachable",
    "3D000": "not-found",
    "42501": "read-only",
    "42P01": "not-inventory",
    "53": "unreachable",
    "53100": "full",
    "55P03": "too-long",
    "57014": "too-long",
    "57P": "unreachable",
    "XX001": "corrupt",
    "XX002": "corrupt",
}

_ADVICE: dict[InventoryErrorKind, str] = {
    "full": "the server has no space left. Nothing of this step was kept; free some space and it goes on",
    "read-only": "cannot be written. Connect to the primary, as the owner of the tables",
    "corrupt": "the database is damaged. Stop certwatch, keep a copy, and restore the last backup",
    "not-inventory": "is not a certwatch inventory. Name an empty database in `inventory:`; this one is left as it is",
    "not-found": "there is no inventory. Create the database; `certwatch run` or `collect` makes the tables",
    "newer": "was written by a newer certwatch. Use that version, or restore a backup from before the upgrade",
    "too-long": "that takes too long to find. Ask for less: a whole name, an owner, a shorter time",
    "gone": "that page's beginning has been forgotten since. Begin again without it",
    "unreachable": (
        "no connection. See that the server runs, that pg_hba.conf lets this machine in, and that user and password are right"
    ),
    "other": "the database refused. Run certwatch doctor",
}


#: By SQLSTATE, in place of the advice.
_SAID: dict[str, str] = {
    "55P03": "others wrote for a minute, and this step had no turn. Nothing of it was kept, and it may be tried again"
}


def shown(url: str) -> str:
    """Without user and password, and without what may hold one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"postgresql://{host}{parts.path}"


def inventory_error(url: str, kind: InventoryErrorKind, why: str = "") -> InventoryError:
    return InventoryError(kind, f"inventory {shown(url)}: {_ADVICE[kind]}" + (f" ({why})" if why else ""))


@contextmanager
def translate(url: str) -> Iterator[None]:
    """Raises InventoryError in place of what psycopg raises."""
    try:
        yield
    except Gone as error:
        raise inventory_error(url, "gone") from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            # libpq's message repeats a part of the address, which may be the password.
            raise InventoryError(
                "other",
                "inventory postgresql://…: not an address that libpq understands, or not used as one."
                " Write postgresql://user@host:port/database?sslmode=verify-full",
            ) from None
        raise inventory_error(url, kind_of(error), _reason(error)) from error
    except psycopg.Error as error:
        if error.sqlstate in _SAID:
            said = f"inventory {shown(url)}: {_SAID[error.sqlstate]} ({_reason(error)})"
            raise InventoryError(kind_of(error), said) from error
        raise inventory_error(url, kind_of(error), _reason(error)) from error
    except (LookupError, ValueError, OverflowError) as error:
        raise InventoryError(
            "corrupt",
            f"inventory {shown(url)}: what it holds contradicts itself ({error!r}). "
            "Run certwatch doctor: if it finds no damage, this is a fault of certwatch",
        ) from error


def kind_of(error: psycopg.Error) -> InventoryErrorKind:
    state = error.sqlstate
    if state is None:
        # libpq's own: no connection, or it broke off.
        return "unreachable" if isinstance(error, psycopg.OperationalError) else "other"
    return next((_KINDS[state[:length]] for length in (5, 3, 2) if state[:length] in _KINDS), "other")


def _reason(error: psycopg.Error) -> str:
    # libpq's message names each address tried, on lines of their own.
    text = " ".join((error.diag.message_primary or str(error)).split())
    return text[:300] or type(error).__name__
