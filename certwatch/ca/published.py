"""What relying parties fetch, kept in memory: CRLs as they were last made, certificates of issuers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.authority import Authority, instant
from certwatch.ca.ledger import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCRL:
    der: bytes
    number: int
    this_update: datetime
    next_update: datetime
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedIssuer:
    der: bytes
    begin: datetime
    end: datetime
    etag: str


class Published:
    """Each entry is replaced as a whole, by the acting thread; anybody may read at any time."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        #: By issuer and partition.
        self.crls: dict[tuple[int, int], PublishedCRL] = {}
        self.deltas: dict[tuple[int, int], PublishedCRL] = {}
        #: By issuer.
        self.issuers: dict[int, PublishedIssuer] = {}
        with authority.turn:
            self._read_issuers()
            for issuer, shard in authority.rows("SELECT issuer, shard FROM crls"):
                self._read_crl(issuer, shard)
            authority.ledger.listeners.append(self._told)

    def _told(self, entries: Sequence[Entry]) -> None:
        kinds = {each.kind for each in entries}
        if "issuer" in kinds:
            self._read_issuers()
        if "crl" not in kinds:
            return
        by_name = {each.name: each.id for each in self._authority.issuers(retired=True)}
        for entry in entries:
            if entry.kind == "crl":
                body = msgspec.json.decode(entry.data)
                self._read_crl(by_name[body["issuer"]], body["partition"])

    def _read_issuers(self) -> None:
        self.issuers = {
            each.id: PublishedIssuer(
                der=each.certificate.public_bytes(Encoding.DER),
                begin=each.certificate.not_valid_before_utc,
                end=each.certificate.not_valid_after_utc,
                etag=f'"{each.certificate.fingerprint(SHA256()).hex()[:32]}"',
            )
            for each in self._authority.issuers(retired=True)
        }

    def _read_crl(self, issuer: int, partition: int) -> None:
        for table, kept in (("crls", self.crls), ("delta_crls", self.deltas)):
            for number, begin, end, der in self._authority.rows(
                f"SELECT number, this_update, next_update, der FROM {table} WHERE issuer = ? AND shard = ?",  # noqa: S608
                issuer,
                partition,
            ):
                kept[issuer, partition] = PublishedCRL(
                    der=der,
                    number=number,
                    this_update=instant(begin),
                    next_update=instant(end),
                    etag=f'"{hashlib.sha256(der).hexdigest()[:32]}"',
                )
