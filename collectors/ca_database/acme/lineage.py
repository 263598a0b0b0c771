"""One certificate that an ACME client keeps up, through all its renewals; and the files that clients write."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice

from certwatch.model.observation import ErrorKind, Fact, LookError
from certwatch.model.shown import shown
from certwatch.x509 import pem
from collectors.ca_database.record import LONGEST, NO_FACTS, Outcome, Pending, ReadFailed, Record

#: A file with one chain, or with settings.
MAX_BYTES = 1 << 20
#: Certificates of one chain.
MAX_CHAIN = 20
#: Lineages of one client.
MOST = 100_000
#: As long as a file's name can be, twice: issuer and domain.
LONGEST_NAME = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    #: What the client calls it, stable through renewals.
    name: str
    #: Leaf first. Empty: there is none, then `problem` says why.
    chain: tuple[bytes, ...]
    facts: Mapping[str, Fact] = field(default_factory=dict)
    problem: LookError | None = None


class Unreadable(Exception):
    """One file. The rest is read for all that."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.error = LookError(kind=kind, message=shown(message))


#: All of a client's lineages, from the path in the config. Raises ReadFailed: it is not there, or not such a client's.
ReadLineages = Callable[[str], Iterator[Lineage]]


class ACMESource:
    several = False
    authorities: tuple[bytes, ...] = ()
    facts = NO_FACTS

    def __init__(self, client: str, path: str, read: ReadLineages) -> None:
        self._client = client
        self._path = path
        self._read = read

    def open(self, mark: str) -> "ACMEReading":
        lineages = self._read(self._path)
        # A path that is wrong shows with the first.
        first = [*islice(lineages, 1)]
        return ACMEReading(self._client, self._path, chain(first, lineages))


class ACMEReading:
    whole = True

    def __init__(self, client: str, path: str, lineages: Iterator[Lineage]) -> None:
        self._client = client
        self._path = path
        self._lineages = lineages

    def records(self) -> Iterator[Record]:
        for count, each in enumerate(self._lineages):
            if count >= MOST:
                raise ReadFailed("other", f"{self._path}: more than {MOST} certificates. Name a part of it")
            yield Record(
                der=each.chain[0] if each.chain else None,
                issuers=each.chain[1:],
                lineage=_named(each.name),
                facts={"renewal_client": self._client, **each.facts},
                problem=each.problem,
            )

    def mark(self) -> str:
        return ""

    def pending(self) -> Pending | None:
        return None

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None:
        """Nothing is held open."""


def _named(name: str) -> str:
    """Files' names may be any bytes, and those in JSON of any length."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 17]}-{sha256(name.encode()).hexdigest()[:16]}"


def is_folder(entry: os.DirEntry[str]) -> bool:
    """False as well for a link that leads in a circle, or to where nobody may look."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def read_bytes(path: str, most: int = MAX_BYTES) -> bytes:
    """Raises Unreadable, and FileNotFoundError for what is not there."""
    try:
        # A pipe that nobody writes to would wait for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("malformed", f"{path}: is no file. Remove it")
            data = file.read(most + 1)
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise Unreadable("malformed", f"{path}: is no path. See the client's settings") from error
    except OSError as error:
        raise Unreadable(
            "permission" if isinstance(error, PermissionError) else "other",
            f"{path}: cannot be read: {error.strerror}. Grant read access to it",
        ) from error
    if len(data) > most:
        raise Unreadable("malformed", f"{path}: is larger than {most} bytes. See what it is")
    return data


def read_chain(path: str) -> tuple[bytes, ...]:
    """Raises Unreadable, also for what has no certificate in it, and FileNotFoundError."""
    return chain_of(read_bytes(path), path)


def chain_of(data: bytes, where: str) -> tuple[bytes, ...]:
    """From PEM. Raises Unreadable."""
    found = [each.data for each in pem.blocks(data) if each.is_certificate and each.data][:MAX_CHAIN]
    if not found:
        raise Unreadable("malformed", f"{where}: has no readable certificate. Have the client renew it")
    return tuple(found)


def read_text(path: str) -> str:
    """Settings. Raises Unreadable and FileNotFoundError."""
    return read_bytes(path).decode("utf-8", "replace")


def listed(folder: str, needed: str) -> list[os.DirEntry[str]]:
    """What is in a folder, by name. Raises ReadFailed, which says what `needed` in `path`."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadFailed("not-found", f"{folder}: is no folder. {needed}") from error
    except OSError as error:
        kind: ErrorKind = "permission" if isinstance(error, PermissionError) else "other"
        raise ReadFailed(
            kind, f"{folder}: cannot be read: {error.strerror}. Grant read access to it"
        ) from error


def lineage(name: str, paths: tuple[str, ...], facts: Mapping[str, Fact]) -> Lineage:
    """With the chain of the first of these files that is there. Never raises."""
    try:
        for path in paths:
            try:
                return Lineage(name=name, chain=read_chain(path), facts=facts)
            except FileNotFoundError:
                continue
    except Unreadable as error:
        return Lineage(name=name, chain=(), facts=facts, problem=error.error)
    return Lineage(
        name=name,
        chain=(),
        facts=facts,
        problem=LookError(
            kind="not-found",
            message=shown(
                f"{paths[0]}: is not there: the client has settings for it, and no certificate. See its log"
            ),
        ),
    )


def kept(text: str) -> str:
    """Of a value in a file, as much as becomes a fact."""
    return text.strip()[:LONGEST]
