"""The ledger: what the CA did, in order, each entry a leaf of one Merkle tree, appended in the act's own transaction."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certwatch.ca import checkpoint, key_file
from certwatch.ca.database import file_of, translate
from certwatch.ca.failure import CAError
from certwatch.ct.merkle import Tree, leaf_hash
from certwatch.model.instants import iso
from certwatch.telemetry.metrics import CA_CHECKPOINT_TIME, CA_LEDGER_ENTRIES

#: A tile of entries writes lengths in sixteen bits (C2SP tlog-tiles).
MAX_ENTRY_BYTES = 65535
#: A clock is set back by so much in the ordinary way (NTP); more, and nothing is signed.
CLOCK_TOLERANCE = timedelta(seconds=2)

encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One that is on disk."""

    position: int
    kind: str
    #: JSON, as it is hashed.
    data: bytes


#: Told of what one act has added, when it is on disk. In the acting thread, which has the turn; must not raise.
Listener = Callable[[Sequence[Entry]], None]


def row_digest(*values: object) -> str:
    """Of what in a row never changes, for the entry that it came with: who changes the row must change the entry."""
    return sha256(msgspec.msgpack.encode(values)).hexdigest()


def micros(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _key_path(directory: Path) -> Path:
    return directory / "checkpoint.key"


def create(directory: Path) -> None:
    """The key that signs checkpoints, if there is none."""
    if not _key_path(directory).exists():
        key_file.write_new(_key_path(directory), Ed25519PrivateKey.generate().private_bytes_raw())


class Ledger:
    """Owned by the one thread that acts. Its tree is replaced only when a transaction was committed."""

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        """Raises CAError "ledger": what is stored contradicts its last checkpoint."""
        self.path = file_of(directory)
        self.connection = connection
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(_key_path(directory).read_bytes())
        except (OSError, ValueError) as error:
            raise CAError(
                "ledger", f"{_key_path(directory)}: the key of the checkpoints cannot be read"
            ) from error
        public = self._key.public_key()
        self.origin = f"certwatch-ca/{public.public_bytes_raw().hex()[:16]}"
        self.verifier_key = checkpoint.verifier_key(self.origin, public)
        self._tree, self.last = self._load()
        self.listeners: list[Listener] = []
        CA_LEDGER_ENTRIES.set(self._tree.size)

    @property
    def size(self) -> int:
        return self._tree.size

    @property
    def root(self) -> bytes:
        return self._tree.root

    def _load(self) -> tuple[Tree, int]:
        """The tree from its stored peaks, held against the last checkpoint; and when the last entry was made."""
        with translate(self.path):
            row = self.connection.execute("SELECT value FROM meta WHERE key = 'tree'").fetchone()
            noted = self.connection.execute(
                "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
            ).fetchone()
            last = self.connection.execute("SELECT value FROM meta WHERE key = 'last'").fetchone()
            (rows, end) = self.connection.execute("SELECT count(*), max(position) FROM ledger").fetchone()
        if row is None and noted is None and not rows:
            return Tree(), 0
        try:
            size, peaks = msgspec.json.decode(row[0], type=tuple[int, list[bytes]])
            tree = Tree(size, peaks)
            signed = checkpoint.verify(noted[0], self.origin, self._key.public_key())
        except (TypeError, msgspec.MsgspecError) as error:
            raise self._contradiction("its state is missing or damaged") from error
        if size != signed.size or tree.root != signed.root:
            raise self._contradiction(f"its state is at {size}, the last checkpoint at {signed.size}")
        if rows != size or end != size - 1:
            raise self._contradiction(f"it has {rows} entries, the last checkpoint says {size}")
        return tree, int(last[0]) if last is not None else 0

    def _contradiction(self, why: str) -> CAError:
        return CAError(
            "ledger",
            f"{self.path}: the ledger contradicts itself: {why}. Nothing is signed. Run certwatch ca audit verify",
        )

    @contextmanager
    def act(self, now: datetime) -> Iterator["_Act"]:
        """One transaction: the rows that change and the entries that say so, then a signed checkpoint; all of it on
        disk when the block is left, or nothing of it. Raises CAError, "clock" before anything is done."""
        instant = micros(now)
        if instant + CLOCK_TOLERANCE // timedelta(microseconds=1) < self.last:
            raise CAError(
                "clock",
                f"the clock says {iso(now)}, and the ledger's last entry is later. Nothing is signed: set the clock right",
            )
        act = _Act(self.connection, self._tree.copy(), max(instant, self.last))
        with translate(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield act
                if act.tree.size != self._tree.size:
                    self._seal(act)
                self.connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled it back already.
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise
        self._tree, self.last = act.tree, act.instant
        CA_LEDGER_ENTRIES.set(self._tree.size)
        CA_CHECKPOINT_TIME.set(act.instant / 1e6)
        for each in act.afterwards:
            each()
        for listener in self.listeners:
            listener(act.entries)

    def _seal(self, act: "_Act") -> None:
        tree = act.tree
        note = checkpoint.sign(
            checkpoint.Checkpoint(origin=self.origin, size=tree.size, root=tree.root), self._key
        )
        self.connection.execute("INSERT INTO checkpoints VALUES (?, ?)", (tree.size, note))
        put = "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        self.connection.execute(put, ("tree", encode((tree.size, tree.peaks))))
        self.connection.execute(put, ("last", act.instant))


class _Act:
    """What one transaction appends."""

    def __init__(self, connection: sqlite3.Connection, tree: Tree, instant: int) -> None:
        self.connection = connection
        self.tree = tree
        #: Microseconds; never before the entry before.
        self.instant = instant
        #: Called when it is on disk.
        self.afterwards: list[Callable[[], None]] = []
        self.entries: list[Entry] = []

    def append(self, kind: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        rows: list[tuple[int, bytes, bytes]] = []
        nodes: list[tuple[int, int, bytes]] = []
        tree = self.tree
        for body in bodies:
            data = encode({"kind": kind, "at": self.instant, **body})
            if len(data) > MAX_ENTRY_BYTES:
                raise CAError(
                    "refused",
                    f"an entry of the ledger would have {len(data)} bytes: at most {MAX_ENTRY_BYTES}",
                )
            leaf = leaf_hash(data)
            rows.append((tree.size, data, leaf))
            self.entries.append(Entry(position=tree.size, kind=kind, data=data))
            nodes += tree.append(leaf)
        self.connection.executemany("INSERT INTO ledger VALUES (?, ?, ?)", rows)
        if nodes:
            self.connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
