"""From the config's `inventory:` to a store."""

from pathlib import Path
from urllib.parse import urlsplit

from certwatch.inventory.store import InventoryError, Store

_POSTGRESQL = ("postgresql", "postgres")


def open_inventory(url: str, *, create: bool = True) -> Store:
    """The inventory of `url`: `sqlite:///var/lib/certwatch/inventory.db` is the absolute path
    /var/lib/certwatch/inventory.db (a fourth slash changes nothing).

    Creates file (mode 0600) and folder if they are missing, unless `create` is False: then "not-found".
    `postgresql://user@host/database`: as libpq takes it (its parameters too); creates the tables in a database that has
    none. Brings an older schema to the present one. Raises InventoryError.
    """
    if urlsplit(url).scheme in _POSTGRESQL:
        try:
            from certwatch.inventory.postgresql.store import PostgreSQLStore
        except ImportError as error:
            raise InventoryError(
                "other",
                f"inventory postgresql://…: cannot be used here ({error}). Install certwatch[postgresql]",
            ) from error
        return PostgreSQLStore(url, create=create)
    path = inventory_path(url)
    # SQLite is imported when it is used: the words and the promise of this package cost their readers nothing.
    from certwatch.inventory.sqlite import SQLiteStore

    return SQLiteStore(path, create=create)


def inventory_path(url: str) -> Path:
    """The file of `sqlite:///…`. Raises InventoryError for any other address."""
    parts = urlsplit(url)
    if parts.scheme in _POSTGRESQL:
        # The URL may hold a password: it is not repeated.
        raise InventoryError(
            "other",
            "inventory postgresql://…: is no file. Keep it and bring it back with pg_dump and pg_restore",
        )
    path = url.removeprefix("sqlite://")
    if parts.scheme != "sqlite" or not path.startswith("/") or not path.strip("/"):
        raise InventoryError(
            "other",
            f"inventory {parts.scheme}:…: not the address of an inventory. Write sqlite:///path/to/inventory.db or postgresql://user@host/database",
        )
    return Path("/" + path.lstrip("/"))
