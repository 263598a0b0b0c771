"""Exports of AD CS in a folder, or one file: the newest row of each request counts."""

import io
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TextIO

from certwatch.model.observation import LookError
from certwatch.model.shown import shown
from collectors.ca_database.adcs.dates import MOST, Dates
from collectors.ca_database.adcs.export import NoExport, Row, encoding_of, has_certificate, rows
from collectors.ca_database.record import (
    NO_FACTS,
    Outcome,
    Pending,
    ReadFailed,
    Record,
    reason_of,
    serial_of_hex,
)
from collectors.ca_database.skim import skim
from collectors.ca_database.values import to_der

#: Bytes by which the encoding is told, and exports of one folder.
HEAD = 1 << 16
MOST_FILES = 1000
#: Characters: certutil's columns are some ten thousand at most, and a certificate is many lines.
MAX_LINE = 16 << 20

#: Request.Disposition (certsrv.h).
PENDING = 9
ISSUED, REVOKED = 20, 21
OUTCOMES = {30: "failed", 31: "denied"}

NEEDED = "Name an export of certutil's, or a folder of them (*.csv), in `path`"


class ADCSSource:
    several = True
    authorities: tuple[bytes, ...] = ()
    facts = NO_FACTS

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, mark: str) -> "ADCSReading | None":
        files = _files(self._path)
        # Each is read once; what is written while that goes on shows the next time.
        stamp = " ".join(f"{each.inode()}:{each.stat().st_size}:{each.stat().st_mtime_ns}" for each in files)
        read, _, known = mark.rpartition("|")
        if mark and read == stamp:
            return None
        return ADCSReading(
            [each.path for each in files], stamp, int(known) if known.isascii() and known.isdigit() else 0
        )


class ADCSReading:
    whole = True

    def __init__(self, files: list[str], stamp: str, known: int) -> None:
        """`known`: the highest number of a request when it was last read; 0: nothing is known."""
        self._files = files
        self._stamp = stamp
        self._known = known
        self._dates = Dates()
        self._told: set[int] = set()
        self._waiting: list[str] = []
        self._outcomes: list[Outcome] = []

    def records(self) -> Iterator[Record]:
        for path in self._files:
            # How dates are written shows where a day is beyond the twelfth: not yet in the first row, perhaps.
            for row in islice(_rows(path), MOST):
                self._learn(row)
            for row in _rows(path):
                yield from self._row(row, path)

    def _learn(self, row: Row) -> None:
        der, _ = to_der(row.get("certificate"), "")
        skimmed = skim(der) if der is not None else None
        if skimmed is not None:
            self._dates.learn(row.get("not_after"), skimmed.not_after)
            self._dates.learn(row.get("not_before"), skimmed.not_before)

    def _row(self, row: Row, path: str) -> Iterator[Record]:
        disposition, request = row.number("disposition"), row.number("request_id")
        if request is not None:
            if request in self._told:
                return  # a newer export has it
            self._told.add(request)
        if disposition == PENDING:
            self._waiting.append(row.get("submitted"))
        elif disposition in OUTCOMES:
            if request is not None and 0 < self._known < request:
                self._outcomes.append(Outcome(profile=row.get("template"), outcome=OUTCOMES[disposition]))
        elif disposition in (ISSUED, REVOKED):
            yield self._record(row, f"{path}:{row.line}", revoked=disposition == REVOKED)
        elif disposition is None and has_certificate(row):
            yield Record(
                der=None,
                serial=serial_of_hex(row.get("serial")),
                place=f"line-{row.line}",
                problem=LookError(
                    kind="malformed",
                    message=shown(
                        f"{path}:{row.line}: {row.get('disposition')[:80] or 'nothing'} is no disposition. Export it by the "
                        "command in docs/ca-databases.md"
                    ),
                ),
            )

    def _record(self, row: Row, where: str, *, revoked: bool) -> Record:
        der, problem = to_der(row.get("certificate"), where)
        reason = row.number("reason")
        serial = serial_of_hex(row.get("serial"))
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else f"line-{row.line}",
            revoked=revoked,
            revoked_at=self._dates.read(row.get("revoked")) if revoked else None,
            reason=reason_of(reason) if revoked else None,
            requester=row.get("requester") or None,
            profile=row.get("template") or None,
            subject=row.get("name") or None,
            not_after=self._dates.read(row.get("not_after")) if der is None else None,
        )

    def mark(self) -> str:
        return f"{self._stamp}|{max(self._told, default=0)}"

    def pending(self) -> Pending | None:
        known: list[datetime] = [
            each for each in (self._dates.read(text) for text in self._waiting) if each is not None
        ]
        return Pending(count=len(self._waiting), since=min(known, default=None))

    def outcomes(self) -> list[Outcome]:
        return self._outcomes

    def close(self) -> None:
        """Nothing is held open."""


def _files(path: str) -> "list[os.DirEntry[str] | _File]":
    """Newest first. Raises ReadFailed."""
    try:
        if not os.path.isdir(path):
            return [_File(path)]
        with os.scandir(path) as entries:
            found = [each for each in entries if each.name.lower().endswith(".csv") and _is_file(each)]
        # Asked for here, and kept by each entry: a file may be gone a moment later.
        found.sort(key=lambda each: (each.stat().st_mtime_ns, each.name), reverse=True)
    except FileNotFoundError as error:
        raise ReadFailed("not-found", f"{path}: is not there. {NEEDED}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not found:
        raise ReadFailed("not-found", f"{path}: has no *.csv in it. {NEEDED}")
    return [*found[:MOST_FILES]]


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """False as well for a link that leads in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


class _File:
    """A single file, as a folder's entry is."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._stat = os.stat(path)

    def inode(self) -> int:
        return self._stat.st_ino

    def stat(self) -> os.stat_result:
        return self._stat


def _opener(path: str, flags: int) -> int:
    # A pipe that nobody writes to would wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _bounded(lines: TextIO) -> Iterator[str]:
    """Raises NoExport."""
    while line := lines.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise NoExport(f"has a line of more than {MAX_LINE} characters: certutil writes none")
        yield line


def _rows(path: str) -> Iterator[Row]:
    """Raises ReadFailed."""
    try:
        with open(path, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ReadFailed("malformed", f"{path}: is no file. {NEEDED}")
            encoding = encoding_of(file.read(HEAD))
            file.seek(0)
            with io.TextIOWrapper(file, encoding, "replace", newline="") as lines:
                yield from rows(_bounded(lines))
    except NoExport as error:
        raise ReadFailed("malformed", shown(f"{path}: {error}")) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> ReadFailed:
    if isinstance(error, FileNotFoundError):
        return ReadFailed("not-found", f"{path}: is not there. {NEEDED}")
    kind = "permission" if isinstance(error, PermissionError) else "other"
    return ReadFailed(kind, f"{path}: cannot be read: {error.strerror}. Grant read access to it")  # type: ignore[arg-type]
