"""`ca audit verify`: recomputes the whole ledger and holds every row of the CA against it. Needs no key."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certwatch.ca import audit_rows, checkpoint, database
from certwatch.ca.audit_entries import Said
from certwatch.ca.entries import KINDS, Head
from certwatch.ca.failure import CAError
from certwatch.ct.merkle import Tree, leaf_hash

#: More are not listed: the first says where to look.
MOST = 100


@dataclass(slots=True)
class Audit:
    entries: int = 0
    root: bytes = b""
    checkpoints: int = 0
    certificates: int = 0
    #: What is wrong, each naming its row. Empty: the ledger is whole.
    wrong: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        if len(self.wrong) < MOST:
            self.wrong.append(message)


def verify(directory: Path) -> Audit:
    """Reads one consistent state, beside a CA at work. Raises CAError when it cannot be read at all."""
    connection = database.open_existing(directory, write=False)
    try:
        with database.translate(database.file_of(directory)):
            connection.execute("BEGIN")
            return _verify(connection, _public_key(directory))
    finally:
        connection.close()


def verify_file(path: Path, key: bytes) -> Audit:
    """A CA's file by itself, as a copy is; `key`: that of its checkpoints. Raises CAError."""
    try:
        public = Ed25519PrivateKey.from_private_bytes(key).public_key()
    except ValueError as error:
        raise CAError("ledger", f"{path}: the key of the checkpoints cannot be read") from error
    with database.translate(path), closing(database.connect(path, write=False)) as connection:
        return _verify(connection, public)


def _public_key(directory: Path) -> Ed25519PublicKey:
    path = directory / "checkpoint.key"
    try:
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes()).public_key()
    except (OSError, ValueError) as error:
        raise CAError("ledger", f"{path}: the key of the checkpoints cannot be read") from error


def _verify(connection: sqlite3.Connection, public: Ed25519PublicKey) -> Audit:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < database.VERSION:
        raise CAError(
            "usage",
            "the CA's file is of an older version of certwatch. Bring it up first, by anything that opens it: certwatch ca crl --out FILE",
        )
    audit, said = Audit(), Said()
    notes = _notes(connection, public, audit)
    tree, expected, last = Tree(), 0, 0
    noted = next(notes, None)
    head = msgspec.json.Decoder(Head).decode
    decoders = {kind: msgspec.json.Decoder(type).decode for kind, type in KINDS.items()}
    nodes: list[tuple[int, int, bytes]] = []
    sound_until = 0
    for position, entry, leaf in connection.execute(
        "SELECT position, entry, leaf FROM ledger ORDER BY position"
    ):
        if position != expected:
            audit.say(
                f"ledger entry {expected}: is missing"
                + (f", and all up to {position - 1}" if position > expected + 1 else "")
            )
            expected = position
        expected += 1
        computed = leaf_hash(entry)
        if computed != leaf:
            audit.say(
                f"ledger entry {position}: was changed: its hash is not the one that was stored with it"
            )
        nodes += tree.append(computed)
        try:
            body = head(entry)
            if (decode := decoders.get(body.kind)) is not None:
                said.take(decode(entry), body.at)
        except msgspec.MsgspecError:
            audit.say(f"ledger entry {position}: cannot be read")
            continue
        if body.at < last:
            audit.say(f"ledger entry {position}: is earlier than the one before it")
        last = body.at
        while noted is not None and noted.size <= tree.size:
            if noted.size == tree.size and noted.root != tree.root:
                if sound_until >= 0:
                    audit.say(
                        f"ledger entries {sound_until} to {position}: at least one was changed, added or removed since"
                        f" the checkpoint at {noted.size} was signed"
                    )
                sound_until = -1
            elif sound_until >= 0:
                sound_until = noted.size
            audit.checkpoints += 1
            noted = next(notes, None)
    while noted is not None:
        audit.say(
            f"ledger entries {tree.size} to {noted.size - 1}: are missing: a checkpoint at {noted.size} was signed"
        )
        noted = next(notes, None)
    audit.entries, audit.root = tree.size, tree.root
    if tree.size and not audit.checkpoints and not audit.wrong:
        audit.say("the ledger has entries and no checkpoint")
    elif sound_until >= 0 and sound_until < tree.size and not audit.wrong:
        audit.say(f"ledger entries {sound_until} to {tree.size - 1}: no checkpoint was signed over them")
    _check_nodes(connection, nodes, audit)
    _check_state(connection, tree, last, audit)
    said.last = last
    audit.certificates = audit_rows.check(connection, said, audit.say)
    return audit


def _notes(
    connection: sqlite3.Connection, public: Ed25519PublicKey, audit: Audit
) -> Iterator[checkpoint.Checkpoint]:
    origin = f"certwatch-ca/{public.public_bytes_raw().hex()[:16]}"
    # A cursor of its own, read along with the entries.
    for size, note in connection.execute("SELECT size, note FROM checkpoints ORDER BY size"):
        try:
            found = checkpoint.verify(note, origin, public)
        except CAError as error:
            audit.say(f"checkpoint {size}: {error.message}")
            continue
        if found.size != size:
            audit.say(f"checkpoint {size}: says that it is of {found.size} entries")
            continue
        yield found


def _check_nodes(connection: sqlite3.Connection, nodes: list[tuple[int, int, bytes]], audit: Audit) -> None:
    stored = {(level, position): hash for level, position, hash in connection.execute("SELECT * FROM nodes")}
    for level, position, hash in nodes:
        if stored.pop((level, position), None) != hash:
            audit.say(f"tile hash {level}/{position}: is missing or was changed")
    for level, position in stored:
        audit.say(f"tile hash {level}/{position}: belongs to no entries")


def _check_state(connection: sqlite3.Connection, tree: Tree, last: int, audit: Audit) -> None:
    """What the CA begins with when it is opened."""
    stored = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('tree', 'last')"))
    if not tree.size and not stored:
        return
    try:
        size, peaks = msgspec.json.decode(stored.get("tree", b""), type=tuple[int, list[bytes]])
    except (msgspec.MsgspecError, TypeError):
        size, peaks = -1, []
    if (size, peaks) != (tree.size, tree.peaks):
        audit.say("meta tree: is not that of the entries")
    if stored.get("last") != last:
        audit.say("meta last: is not when the last entry was made")
