"""`ca audit verify`: recomputes the whole ledger and holds every row of the CA against it. Needs no key."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certwatch.ca import checkpoint, database
from certwatch.ca.failure import CAError
from certwatch.ct.merkle import Tree, leaf_hash

#: More are not listed: the first says where to look.
MOST = 100


class _Body(msgspec.Struct):
    kind: str
    at: int
    serial: str | None = None
    sha256: str | None = None
    request: int | None = None
    by: str | None = None
    reason: str | None = None
    name: str | None = None


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


@dataclass(slots=True)
class _Said:
    """What the entries say, to hold the tables against."""

    intents: set[str] = field(default_factory=set)
    certificates: dict[str, str] = field(default_factory=dict)
    revocations: dict[str, str] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    approvals: set[tuple[int, str]] = field(default_factory=set)
    requests: set[int] = field(default_factory=set)
    issuers: dict[str, str] = field(default_factory=dict)


def _verify(connection: sqlite3.Connection, public: Ed25519PublicKey) -> Audit:
    audit, said = Audit(), _Said()
    notes = _notes(connection, public, audit)
    tree, expected, last = Tree(), 0, 0
    noted = next(notes, None)
    decode = msgspec.json.Decoder(_Body).decode
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
            body = decode(entry)
        except msgspec.MsgspecError:
            audit.say(f"ledger entry {position}: cannot be read")
            continue
        if body.at < last:
            audit.say(f"ledger entry {position}: is earlier than the one before it")
        last = body.at
        _take(said, body)
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
    _check_tables(connection, said, audit)
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


def _take(said: _Said, body: _Body) -> None:
    kind, serial = body.kind, body.serial
    if kind == "intent" and serial is not None:
        said.intents.add(serial)
    elif kind == "certificate" and serial is not None:
        said.certificates[serial] = body.sha256 or ""
    elif kind == "revocation" and serial is not None:
        said.revocations[serial] = body.reason or ""
    elif kind == "failure" and serial is not None:
        said.failures.add(serial)
    elif kind == "approval" and body.request is not None:
        said.approvals.add((body.request, body.by or ""))
    elif kind == "request" and body.request is not None:
        said.requests.add(body.request)
    elif kind == "issuer" and body.name is not None:
        said.issuers[body.name] = body.sha256 or ""


def _check_nodes(connection: sqlite3.Connection, nodes: list[tuple[int, int, bytes]], audit: Audit) -> None:
    stored = {(level, position): hash for level, position, hash in connection.execute("SELECT * FROM nodes")}
    for level, position, hash in nodes:
        if stored.pop((level, position), None) != hash:
            audit.say(f"tile hash {level}/{position}: is missing or was changed")
    for level, position in stored:
        audit.say(f"tile hash {level}/{position}: belongs to no entries")


def _check_tables(connection: sqlite3.Connection, said: _Said, audit: Audit) -> None:
    for key, state, der, revoked, reason in connection.execute(
        "SELECT serial, state, der, revoked, reason FROM certificates ORDER BY serial"
    ):
        serial = key.hex()
        audit.certificates += 1
        if serial not in said.intents:
            audit.say(f"certificate {serial}: the ledger has no intent for it")
        said.intents.discard(serial)
        digest = said.certificates.pop(serial, None)
        if state == "issued" and (der is None or digest is None):
            audit.say(f"certificate {serial}: is issued, and the ledger does not have it")
        elif der is not None and hashlib.sha256(der).hexdigest() != digest:
            audit.say(f"certificate {serial}: was changed: it is not the one that the ledger has")
        elif state != "issued" and digest is not None:
            audit.say(f"certificate {serial}: the ledger says that it was issued, its row says {state}")
        if state == "failed" and serial not in said.failures:
            audit.say(f"certificate {serial}: its row says failed, the ledger does not")
        why = said.revocations.pop(serial, None)
        if (revoked is None) != (why is None) or (why is not None and why != reason):
            audit.say(
                f"certificate {serial}: its row says {reason or 'not revoked'}, the ledger {why or 'not revoked'}"
            )
    for serial in sorted(said.intents | set(said.certificates)):
        audit.say(f"certificate {serial}: its row was removed; the ledger has it")
    approvals = set(connection.execute("SELECT request, person FROM approvals"))
    for request, person in sorted(approvals ^ said.approvals):
        held = "is not in the ledger" if (request, person) in approvals else "was removed; the ledger has it"
        audit.say(f"approval of request {request} by {person}: {held}")
    requests = {id for (id,) in connection.execute("SELECT id FROM requests")}
    for request in sorted(requests ^ said.requests):
        audit.say(
            f"request {request}: "
            + ("is not in the ledger" if request in requests else "was removed; the ledger has it")
        )
    for name, der in connection.execute(
        "SELECT name, certificate FROM issuers WHERE certificate IS NOT NULL"
    ):
        if said.issuers.pop(name, None) != hashlib.sha256(der).hexdigest():
            audit.say(f"issuer {name}: its certificate is not the one that the ledger has")
    for name in said.issuers:
        audit.say(f"issuer {name}: its row was removed; the ledger has it")
