"""Whether what is met somewhere stands in the books of the CA that is named as its issuer."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from certwatch.inventory.ranges import between
from certwatch.inventory.served import CertificateCache, in_chunks
from certwatch.inventory.session import Session
from certwatch.model.books import Books
from certwatch.model.instants import read_instant
from certwatch.model.sighting import Served

#: Kinds of places that say something of a certificate, and are not where it is.
_STATEMENTS = ("ocsp", "http", "https")
_DATABASES = between("uri", "'ca-database:'", "'ca-database;'")


def load_books(connection: Session, cache: CertificateCache, places: Sequence[Served]) -> Mapping[int, Books]:
    """By location's id; nothing at all as long as no CA's database is read. The caller holds a snapshot."""
    databases = _databases(connection)
    if not databases:
        return {}
    covering = {
        each.id: [uri for uri, (issuers, _) in databases.items() if _tag(each) in issuers]
        for each in places
        if each.chain
        and not each.chain[0].is_ca
        and each.location.standing != "recorded"
        and each.location.kind not in _STATEMENTS
    }
    wanted = {
        each.id: [uri for database in covering[each.id] for uri in _entries(database, each)]
        for each in places
        if covering.get(each.id)
    }
    entered = dict(
        in_chunks(
            connection,
            "SELECT uri, chain FROM locations WHERE uri IN ({})",
            sorted({uri for uris in wanted.values() for uri in uris}),
        )
    )
    leaves = {uri: (json.loads(chain) or [None])[0] for uri, chain in entered.items()}
    certificates = cache.get(connection, {each for each in leaves.values() if each is not None})

    def has(place: Served, uri: str) -> bool:
        if uri not in leaves:
            return False
        leaf = leaves[uri]
        # A database that does not keep certificates themselves knows them by number.
        return leaf is None or (
            leaf in certificates
            and certificates[leaf].fingerprint_sha256 == place.chain[0].fingerprint_sha256
        )

    return {
        each.id: Books(
            databases=tuple(covering[each.id]),
            recorded=any(has(each, uri) for uri in wanted.get(each.id, ())),
            read_at=_oldest([databases[uri][1] for uri in covering[each.id]]),
        )
        for each in places
        if each.id in covering
    }


def _databases(connection: Session) -> dict[str, tuple[frozenset[str], datetime | None]]:
    """Digests of the issuers' names, and when it was last read in full, by location."""
    found = {}
    for uri, text in connection.execute(
        f"SELECT uri, facts FROM locations WHERE {_DATABASES} AND retired_at IS NULL"
    ):
        facts = json.loads(text)
        issuers = frozenset(str(facts.get("ca_issuers") or "").split())
        if issuers:
            found[uri] = issuers, read_instant(facts.get("ca_full_read_at"))
    return found


def _tag(place: Served) -> str:
    """As the ca-database collector writes it: the beginning of the SHA-256 of the issuer's name."""
    return sha256(place.chain[0].issuer_der or b"").digest()[:8].hex()


def _entries(database: str, place: Served) -> list[str]:
    """Where it would stand in that database."""
    leaf = place.chain[0]
    serial = leaf.serial_hex
    place_in = f"cadb://{database.removeprefix('ca-database://')}/{serial}"
    own = f"#{leaf.fingerprint_sha256[:8].hex()}"
    return [place_in + issuer + another for issuer in ("", f"?ca={_tag(place)}") for another in ("", own)]


def _oldest(instants: Sequence[datetime | None]) -> datetime | None:
    known = [each for each in instants if each is not None]
    return min(known) if known and len(known) == len(instants) else None
