"""Connections that only read: beside whoever acts, one for each thread that asks."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from certwatch.ca import database

T = TypeVar("T")


class Readers:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: list[sqlite3.Connection] = []

    def ask(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Raises CAError."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = database.open_existing(self._directory, write=False)
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        with database.translate(database.file_of(self._directory)):
            return function(connection)

    def close(self) -> None:
        """When nobody asks any more."""
        with self._lock:
            for each in self._all:
                each.close()
            self._all.clear()
