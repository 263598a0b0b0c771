"""A PKI mount of Vault or OpenBao.

It lists serial numbers alone, and each certificate is one request: so what the inventory knows is not asked for again,
until everything is read anew. What `no_store` roles issue is not there, nor what `tidy` has removed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256

from certwatch.doors.rest import RequestFailed
from certwatch.doors.vault import Issued, Vault
from certwatch.model.instants import read_instant
from certwatch.model.observation import Fact
from certwatch.x509 import pem
from collectors.ca_database.record import (
    Outcome,
    Pending,
    ReadFailed,
    Record,
    WentBack,
    rfc3339,
    serial_of_hex,
)
from collectors.ca_database.rest.fetching import fetched
from collectors.ca_database.skim import skim
from collectors.ca_database.values import to_der

#: Issuers of one mount that are read.
MOST_ISSUERS = 100

#: What the inventory has of a serial number: "issued", "revoked", or None, it is not known.
Known = Callable[[str], str | None]


class VaultSource:
    #: A mount with several issuers keeps all of its certificates by serial number alone.
    several = False

    def __init__(self, make: Callable[[], Vault], mount: str, known: Known) -> None:
        self._make = make
        self._mount = mount
        self._known = known
        self.authorities: tuple[bytes, ...] = ()
        self.facts: dict[str, Fact] = {}

    def open(self, mark: str) -> "VaultReading | None":
        try:
            vault = self._make()
        except RequestFailed as failed:
            raise ReadFailed(failed.kind, failed.message) from failed
        try:
            reading = VaultReading(vault, self._mount, self._known, mark)
            self.authorities, self.facts = reading.about()
            if reading.is_new(mark):
                return reading
        except RequestFailed as failed:
            message = failed.message + _help(vault, failed)
            vault.close()
            raise ReadFailed(failed.kind, message) from failed
        except BaseException:
            vault.close()
            raise
        vault.close()
        return None


class VaultReading:
    def __init__(self, vault: Vault, mount: str, known: Known, mark: str) -> None:
        self.whole = not mark
        self._vault = vault
        self._mount = mount
        self._known = known
        self._serials = [*vault.serials(mount)]
        self._revoked = [*vault.serials(mount, revoked=True)]
        #: A certificate that must still be there next time, and its end: the latest one.
        self._witness, self._witness_until = _witness(mark)

    def about(self) -> tuple[tuple[bytes, ...], dict[str, Fact]]:
        """The mount's issuers, DER, and where it publishes."""
        issuers = []
        for each in self._vault.issuers(self._mount)[:MOST_ISSUERS]:
            issuers += [block.data for block in pem.blocks(each.certificate.encode()) if block.is_certificate]
        facts: dict[str, Fact] = {}
        try:
            urls = self._vault.distribution(self._mount)
        except RequestFailed as failed:
            # A policy need not allow it.
            if failed.status != 403:
                raise
        else:
            facts["ca_publishes_revocation"] = bool(urls.crl or urls.ocsp)
        return tuple(each for each in issuers if each), facts

    def is_new(self, mark: str) -> bool:
        """Raises WentBack."""
        if self._witness and self._witness not in set(self._serials):
            raise WentBack(
                f"{self._vault.where}/{self._mount} has no certificate {self._witness} any more, and it has not ended"
            )
        return not mark or _state(mark) != self._state()

    def records(self) -> Iterator[Record]:
        wanted: Sequence[str] = self._serials
        if not self.whole:
            revoked = set(self._revoked)
            wanted = [each for each in self._serials if each not in revoked and self._is_new(each, "issued")]
            wanted += [each for each in self._revoked if self._is_new(each, "revoked")]
        try:
            for serial, issued in fetched(wanted, self._fetch):
                if issued is not None:
                    yield self._record(serial, issued)
        except RequestFailed as failed:
            raise ReadFailed(failed.kind, failed.message) from failed

    def _fetch(self, serial: str) -> Issued | None:
        return self._vault.certificate(self._mount, serial)

    def _is_new(self, serial: str, status: str) -> bool:
        return self._known(serial_of_hex(serial.replace("-", ":"))) != status

    def _record(self, serial: str, issued: Issued) -> Record:
        der, problem = to_der(
            issued.certificate, f"{self._vault.where}/{self._mount}: serial number {serial[:80]}"
        )
        self._note(serial, der)
        return Record(
            der=der,
            problem=problem,
            serial=serial_of_hex(serial.replace("-", ":")),
            revoked=issued.revoked_at is not None,
            revoked_at=issued.revoked_at,
        )

    def _note(self, serial: str, der: bytes | None) -> None:
        skimmed = skim(der) if der is not None else None
        if skimmed is not None and (self._witness_until is None or skimmed.not_after > self._witness_until):
            self._witness, self._witness_until = serial, skimmed.not_after

    def _state(self) -> list[str]:
        return [_digest(self._serials), _digest(self._revoked)]

    def mark(self) -> str:
        return json.dumps([*self._state(), self._witness, rfc3339(self._witness_until)])

    def pending(self) -> Pending | None:
        return None

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None:
        self._vault.close()


def _digest(serials: Sequence[str]) -> str:
    return sha256("\n".join(sorted(serials)).encode()).hexdigest()[:32]


def _state(mark: str) -> list[str]:
    try:
        found = json.loads(mark)
        return [str(each) for each in found[:2]]
    except (ValueError, TypeError, KeyError):
        return []


def _witness(mark: str) -> tuple[str, datetime | None]:
    try:
        *_, serial, until = json.loads(mark)
    except (ValueError, TypeError):
        return "", None
    return str(serial), read_instant(until)


def _help(vault: Vault, failed: RequestFailed) -> str:
    if failed.status == 403:
        return ". Give its token the policy in docs/ca-databases.md"
    if failed.status == 404:
        try:
            mounts = vault.pki_mounts()
        except RequestFailed:
            return ". See `mount`"
        return f". PKI mounts are: {', '.join(mounts)[:200] or 'none'}"
    return ""
