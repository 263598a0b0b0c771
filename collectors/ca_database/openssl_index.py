"""The database of `openssl ca` and easy-rsa: index.txt, with the certificates beside it.

Six columns, separated by tabs (openssl-ca(1), and apps/include/apps.h of OpenSSL): type, end of validity, revocation,
serial number, file, subject. OpenSSL writes the file anew with every change and renames it into place.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime

from certwatch.model.observation import LookError
from certwatch.model.shown import shown
from certwatch.x509 import pem
from certwatch.x509.der import instant
from certwatch.x509.tlv import Unreadable
from collectors.ca_database.record import (
    LONGEST,
    NO_FACTS,
    Outcome,
    Pending,
    ReadFailed,
    Record,
    WentBack,
    reason_of,
    serial_of_hex,
)

#: Where certificates lie beside the index, one a serial number: `openssl ca` and easy-rsa.
FOLDERS = ("newcerts", "certs_by_serial")
#: A line has a name of at most some hundred bytes.
MAX_LINE = 64 << 10
MAX_LINES = 20_000_000
#: A file with one certificate, OpenSSL's text of it above.
MAX_BYTES = 1 << 20

#: Of `openssl ca -crl_reason` those that stand for another (with an instant or an instruction after them).
_REASONS = {"keytime": "keyCompromise", "cakeytime": "cACompromise", "holdinstruction": "certificateHold"}


class OpenSSLSource:
    several = False
    authorities: tuple[bytes, ...] = ()
    facts = NO_FACTS

    def __init__(self, path: str, certificates: str | None) -> None:
        """`path`: index.txt or its folder."""
        self._path = path
        self._certificates = certificates

    def open(self, mark: str) -> "OpenSSLReading | None":
        path = os.path.join(self._path, "index.txt") if os.path.isdir(self._path) else self._path
        try:
            found = os.stat(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        stamp = f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
        known, _, rest = mark.partition(" ")
        if mark and known == stamp:
            return None
        if mark and rest.isdigit():
            # A line of the index is altered, never taken out.
            lines = sum(1 for line in _lines(path) if line.strip())
            if lines < int(rest):
                raise WentBack(f"{path} has {lines} lines, and had {rest}")
        return OpenSSLReading(path, self._bodies(path), stamp)

    def _bodies(self, path: str) -> tuple[str, ...]:
        if self._certificates is not None:
            return (self._certificates,)
        return tuple(os.path.join(os.path.dirname(path), each) for each in FOLDERS)


class OpenSSLReading:
    whole = True

    def __init__(self, path: str, folders: tuple[str, ...], stamp: str) -> None:
        self._path = path
        self._folders = tuple(each for each in folders if os.path.isdir(each))
        self._stamp = stamp
        self._count = 0

    def records(self) -> Iterator[Record]:
        for number, line in enumerate(_lines(self._path), 1):
            if not line.strip():
                continue
            self._count += 1
            found = parse_line(line.decode("utf-8", "replace"), f"{self._path}:{number}", number)
            yield self._with_body(found) if found.serial else found

    def _with_body(self, found: Record) -> Record:
        name = found.serial.upper() + ".pem"
        for folder in self._folders:
            path = os.path.join(folder, name)
            try:
                with open(path, "rb", opener=_opener) as file:
                    data = file.read(MAX_BYTES) or b""
            except FileNotFoundError:
                continue
            except OSError as error:
                return _with(
                    found, None, LookError(kind="permission", message=_unreadable(path, error).message)
                )
            for block in pem.blocks(data):
                if block.is_certificate and block.data:
                    return _with(found, block.data, None)
            return _with(
                found,
                None,
                LookError(
                    kind="malformed", message=f"{path}: has no readable certificate. Restore it, or remove it"
                ),
            )
        return found

    def mark(self) -> str:
        return f"{self._stamp} {self._count}"

    def pending(self) -> Pending | None:
        return None

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None:
        """Nothing is held open."""


def parse_line(line: str, where: str, number: int) -> Record:
    """Without the body. Never raises: what cannot be read is a record with a problem."""
    fields = line.rstrip("\r\n").split("\t")
    serial = serial_of_hex(fields[3]) if len(fields) == 6 else ""
    if not serial or fields[0] not in ("V", "R", "E", "S"):
        message = f"{where}: not a line of an OpenSSL index. Restore the file from its .old"
        return Record(
            der=None, place=f"line-{number}", problem=LookError(kind="malformed", message=shown(message))
        )
    when, _, why = fields[2].partition(",")
    reason, _, _ = why.partition(",")
    return Record(
        der=None,
        serial=serial,
        revoked=fields[0] == "R",
        revoked_at=_time(when),
        reason=_REASONS.get(reason.lower()) or reason_of(reason or None),
        subject=shown(fields[5][:LONGEST]) or None,
        not_after=_time(fields[1]),
    )


def _time(text: str) -> datetime | None:
    """UTCTime or GeneralizedTime (RFC 5280, 4.1.2.5), as OpenSSL chooses. None: neither."""
    try:
        return instant(0x17 if len(text) == 13 else 0x18, text.encode("ascii"))
    except (Unreadable, ValueError):
        return None


def _with(found: Record, der: bytes | None, problem: LookError | None) -> Record:
    return Record(
        der=der,
        serial=found.serial,
        revoked=found.revoked,
        revoked_at=found.revoked_at,
        reason=found.reason,
        subject=found.subject,
        not_after=found.not_after,
        problem=problem,
    )


def _opener(path: str, flags: int) -> int:
    # A pipe that nobody writes to would wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _lines(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb", opener=_opener) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ReadFailed(
                    "malformed", f"{path}: is no file. Name the CA's folder or its index.txt in `path`"
                )
            for _ in range(MAX_LINES):
                line = file.readline(MAX_LINE)
                if not line:
                    break
                yield line
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                # OpenSSL puts a new file into place, others write into this one: half of it would be read, and the
                # other half taken for gone.
                raise ReadFailed(
                    "other", f"{path}: was written while it was read. The next round reads it again"
                )
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> ReadFailed:
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return ReadFailed(
            "not-found", f"{path}: is not there. Name the CA's folder or its index.txt in `path`"
        )
    kind = "permission" if isinstance(error, PermissionError) else "other"
    return ReadFailed(kind, f"{path}: cannot be read: {reason}. Grant read access to it")  # type: ignore[arg-type]
