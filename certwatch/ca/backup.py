"""A copy of a CA beside whoever works with it, and a copy put back: everything but the keys that sign certificates.

One file: a tar with the database, the key of the checkpoints (which signs nothing else) and a list of the keys that the CA needs."""

import io
import os
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from certwatch.ca import audit, database
from certwatch.ca.audit_entries import CRL_LEAP
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.key_file import write_new
from certwatch.ca.keys import Secrets
from certwatch.ca.settings import CASettings
from certwatch.model.clock import Clock

DATABASE, CHECKPOINT_KEY, LIST = "ca.db", "checkpoint.key", "keys.json"
#: Larger than any CA of this kind, and no bomb.
MAX_BYTES = 64 << 30
MAX_SMALL = 1 << 20
PAGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    entries: int
    certificates: int
    #: Where the keys are that it needs, by issuer.
    keys: dict[str, str]


def backup(directory: Path, target: Path) -> Copied:
    """A consistent state, verified whole. `target` must not exist; it appears whole or not at all. Raises CAError."""
    if target.exists():
        raise CAError("usage", f"{target}: is there already. Name a file that is not")
    key = _read(directory / CHECKPOINT_KEY)
    with database.translate(target):
        part = target.with_name(f".{target.name}.db")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(database.open_existing(directory, write=False)) as reading, database.translate(target):
            with closing(sqlite3.connect(part)) as writing:
                reading.backup(writing, pages=PAGES)
                writing.execute("PRAGMA journal_mode = DELETE")
                keys = dict(writing.execute("SELECT name, key FROM issuers ORDER BY id"))
        copied = _verified(part, key, keys)
        _pack(target, part, key, keys)
    finally:
        part.unlink(missing_ok=True)
    return copied


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CAError("not-found", f"{path}: is not there: this is no folder of a CA") from None
    except OSError as error:
        raise CAError("other", f"{path}: {error.strerror}") from error


def _verified(file: Path, key: bytes, keys: dict[str, str]) -> Copied:
    found = audit.verify_file(file, key)
    if found.wrong:
        raise CAError("ledger", f"the copy is not whole: {found.wrong[0]}. Run certwatch ca audit verify")
    return Copied(entries=found.entries, certificates=found.certificates, keys=keys)


def _pack(target: Path, part: Path, key: bytes, keys: dict[str, str]) -> None:
    fresh = target.with_name(f".{target.name}.new")
    with database.translate(target):
        fresh.unlink(missing_ok=True)
        file = os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        try:
            with file:
                with tarfile.open(fileobj=file, mode="w") as tar:
                    for name, data in ((LIST, msgspec.json.encode(keys)), (CHECKPOINT_KEY, key)):
                        info = tarfile.TarInfo(name)
                        info.size, info.mode = len(data), 0o600
                        tar.addfile(info, io.BytesIO(data))
                    with part.open("rb") as copied:
                        info = tarfile.TarInfo(DATABASE)
                        info.size, info.mode = os.fstat(copied.fileno()).st_size, 0o600
                        tar.addfile(info, copied)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def restore(source: Path, settings: CASettings, secrets: Secrets, clock: Clock, *, by: str) -> Copied:
    """Into a folder where there is no CA. The ledger has an entry of it, and CRLs go on with much higher numbers. Raises
    CAError; then the folder is as it was."""
    directory = settings.directory
    with database.translate(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = database.Lock(directory)
    made: list[Path] = []
    try:
        for name in (DATABASE, CHECKPOINT_KEY):
            if (directory / name).exists():
                raise CAError("usage", f"{directory}: there is a CA already. Restore into an empty folder")
        part = directory / ".restored.db"
        part.unlink(missing_ok=True)
        made.append(part)
        key = _unpack(source, part)
        with closing(database.connect(part)) as opened, database.translate(part):
            (application,) = opened.execute("PRAGMA application_id").fetchone()
            if application != database.APPLICATION_ID:
                raise CAError("ledger", f"{source}: is no copy of a CA")
            # Adds what an older version does not have; what is there is verified after it as before.
            database.upgrade(opened)
            keys = dict(opened.execute("SELECT name, key FROM issuers ORDER BY id"))
            opened.execute("PRAGMA journal_mode = DELETE")
        _verified(part, key, keys)
        write_new(directory / CHECKPOINT_KEY, key)
        made.append(directory / CHECKPOINT_KEY)
        with database.translate(directory):
            part.replace(database.file_of(directory))
    except BaseException:
        for each in made:
            each.unlink(missing_ok=True)
        raise
    finally:
        lock.release()
    with Authority(settings, secrets, clock) as authority, authority.act() as act:
        # Some may have been made after the copy, and numbers only grow (RFC 5280, 5.2.3).
        act.connection.execute("UPDATE crls SET number = number + ?", (CRL_LEAP,))
        # A delta of before would be held against a CRL that nobody has.
        act.connection.execute("DELETE FROM delta_crls")
        act.connection.execute("DELETE FROM crl_bases")
        act.append("restored", [{"by": by, "entries": authority.ledger.size}])
    found = audit.verify(directory)
    return Copied(entries=found.entries, certificates=found.certificates, keys=keys)


def _unpack(source: Path, part: Path) -> bytes:
    """The database to a file, and the checkpoints' key. Only what is expected is read."""
    key: bytes | None = None
    found = False
    try:
        with tarfile.open(source, "r:") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None or member.size > MAX_BYTES:
                    continue
                if member.name == CHECKPOINT_KEY and member.size <= MAX_SMALL:
                    key = stream.read()
                elif member.name == DATABASE and not found:
                    found = True
                    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                        while piece := stream.read(1 << 20):
                            file.write(piece)
                        file.flush()
                        os.fsync(file.fileno())
    except (tarfile.TarError, EOFError) as error:
        raise CAError("ledger", f"{source}: is no copy of a CA ({error})") from error
    except OSError as error:
        raise CAError("full" if error.errno == 28 else "other", f"{source}: {error.strerror}") from error
    if key is None or not found:
        raise CAError("ledger", f"{source}: is no copy of a CA")
    return key
