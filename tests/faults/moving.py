"""A process that moves an inventory and dies in it: `python -m tests.faults.moving FROM TO TABLE`, when it writes the
first rows of TABLE."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from certwatch.inventory import open_inventory
from certwatch.inventory.migrate import migrate
from certwatch.inventory.postgresql.session import PostgreSQLSession
from certwatch.inventory.sqlite import SQLiteSession


def main(source: str, target: str, last: str) -> None:
    for session in (PostgreSQLSession, SQLiteSession):
        insert = session.insert

        def dying(
            self: Any, table: str, rows: Sequence[Sequence[Any]], conflict: str = "", insert: Any = insert
        ) -> None:
            insert(self, table, rows, conflict)
            if table == last:
                os.kill(os.getpid(), signal.SIGKILL)

        session.insert = dying  # type: ignore[method-assign]
    migrate(open_inventory(source), open_inventory(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
