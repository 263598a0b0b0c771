"""The other direction: what certificates in use carry of timestamps, and whether the logs kept the promise that each one is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from certwatch.ct.heads import BadSignature, SignedHead
from certwatch.ct.log_list import Log
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import ProofError, leaf_hash
from certwatch.ct.scts import SCT, Embedded, policy_faults, read_embedded
from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Observation
from certwatch.model.sighting import Served
from certwatch.plugins.view import InventoryView
from certwatch.telemetry.logs import get_logger
from collectors.ct.heads import GRACE
from collectors.ct.source import LogError, LogSource

log = get_logger(__name__)

#: Certificates that are looked at, and promises that logs are asked about, in one scan.
MOST, SAMPLE = 100_000, 50
MILLISECOND = timedelta(milliseconds=1)
SCOPE = "timestamps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A certificate in use with what it carries."""

    certificate: Certificate
    #: Where it is seen, one of the places.
    place: LocationURI
    embedded: Embedded | None
    #: SHA-256 of the issuer's public key. None: its certificate is not sent along, so that no signature can be verified.
    issuer_key: bytes | None
    #: Why what it carries cannot be read. Empty: it can.
    unreadable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A log that is read, and what was verified of it."""

    log: Log
    source: LogSource
    head: SignedHead


def in_use(view: InventoryView) -> Iterator[Stamped]:
    """Each certificate once that is served somewhere and carries timestamps. Blocking."""
    seen: set[bytes] = set()
    for served in view.live():
        leaf = served.leaf
        if (
            served.location.standing != "served"
            or leaf is None
            or leaf.is_ca
            or leaf.fingerprint_sha256 in seen
        ):
            continue
        seen.add(leaf.fingerprint_sha256)
        if len(seen) > MOST:
            return
        try:
            embedded = read_embedded(leaf.der)
        except Malformed as error:
            yield _stamped(served, leaf, None, str(error))
            continue
        if embedded is not None:
            yield _stamped(served, leaf, embedded)


def _stamped(served: Served, leaf: Certificate, embedded: Embedded | None, unreadable: str = "") -> Stamped:
    issuer = next(
        (each for each in served.chain[1:] if each.subject_der == leaf.issuer_der and each.spki_sha256), None
    )
    return Stamped(
        certificate=leaf,
        place=served.location.uri,
        embedded=embedded,
        issuer_key=issuer.spki_sha256 if issuer is not None else None,
        unreadable=unreadable,
    )


class Timestamps:
    """What is known of them: signatures that were verified, promises that were asked about. Lives as long as the collector. Owned
    by its scan."""

    def __init__(self) -> None:
        # By certificate, its issuer's key, and log.
        self._signed: dict[tuple[bytes, bytes, bytes], bool] = {}
        # By certificate and log. True: the log has the entry.
        self._kept: dict[tuple[bytes, bytes], bool] = {}

    def forget(self, stamped: Sequence[Stamped]) -> None:
        """All but these."""
        alive = {each.certificate.fingerprint_sha256 for each in stamped}
        self._signed = {key: value for key, value in self._signed.items() if key[0] in alive}
        self._kept = {key: value for key, value in self._kept.items() if key[0] in alive}

    async def ask(self, stamped: Sequence[Stamped], asked: Mapping[bytes, Asked]) -> None:
        """Logs about a sample of the promises that are due and were never asked about, or were broken when asked last."""
        left, silent = SAMPLE, set[bytes]()
        for each, embedded, sct in _all(stamped):
            found = asked.get(sct.log_id)
            key = (each.certificate.fingerprint_sha256, sct.log_id)
            if (
                found is None
                or each.issuer_key is None
                or self._kept.get(key)
                or sct.log_id in silent
                # Within the maximum merge delay it may be missing.
                or found.head.timestamp < sct.timestamp + (found.log.mmd + GRACE) / MILLISECOND
                or not self._is_signed(each, embedded, sct, found.log)
            ):
                continue
            if not left:
                return
            left -= 1
            try:
                leaf = leaf_hash(sct.leaf(embedded.tbs, each.issuer_key))
                self._kept[key] = await found.source.has(leaf, sct.leaf_index, found.head)
            except (LogError, ProofError) as error:
                silent.add(sct.log_id)
                log.warning("ct_promise_not_asked", log=found.log.name, error=str(error))

    def observations(
        self, stamped: Iterable[Stamped], logs: Mapping[bytes, Log], now: datetime, *, is_list_known: bool
    ) -> list[Observation]:
        """`logs`: by ID. `is_list_known`: False: only some logs are known, so that policies cannot be judged. Blocking."""
        return [
            Observation(
                location=LocationURI(f"sct://{each.certificate.fingerprint_sha256.hex()}"),
                observed_at=now,
                facts=self._facts(each, logs, is_list_known),
                scope=SCOPE,
            )
            for each in stamped
        ]

    def _facts(self, each: Stamped, logs: Mapping[bytes, Log], is_list_known: bool) -> dict[str, Fact]:
        leaf = each.certificate
        facts: dict[str, Fact] = {
            "certificate": leaf.fingerprint_sha256.hex(),
            "certificate_name": leaf.shown,
            "certificate_location": each.place,
        }
        if each.embedded is None:
            return facts | {
                "sct_count": 0,
                "sct_valid": 0,
                "sct_fault": f"They cannot be read: {each.unreadable}",
            }
        good: list[tuple[SCT, Log]] = []
        faults: list[str] = []
        unlogged: list[str] = []
        for sct in each.embedded.scts:
            made_by = logs.get(sct.log_id)
            if made_by is None:
                continue
            if not self._is_signed(each, each.embedded, sct, made_by):
                faults.append(f"the timestamp of {made_by.description} is not signed by it")
                continue
            good.append((sct, made_by))
            if self._kept.get((leaf.fingerprint_sha256, sct.log_id)) is False:
                unlogged.append(made_by.description)
        if is_list_known:
            faults += policy_faults([(sct, made_by.operator) for sct, made_by in good], _lifetime(leaf))
        facts |= {
            "sct_count": len(each.embedded.scts),
            "sct_valid": len(good),
            "sct_logs": ", ".join(sorted({made_by.description for _, made_by in good})),
        }
        if each.issuer_key is None:
            facts["sct_unverified"] = True
        if faults:
            facts["sct_fault"] = "; ".join(faults)
        if unlogged:
            facts["sct_unlogged"] = ", ".join(sorted(unlogged))
        return facts

    def _is_signed(self, each: Stamped, embedded: Embedded, sct: SCT, made_by: Log) -> bool:
        """True also if nothing can be verified, for want of the issuer."""
        if each.issuer_key is None:
            return True
        key = (each.certificate.fingerprint_sha256, each.issuer_key, sct.log_id)
        if key not in self._signed:
            try:
                sct.verify(made_by.key, embedded.tbs, each.issuer_key)
                self._signed[key] = True
            except BadSignature:
                self._signed[key] = False
        return self._signed[key]


def _all(stamped: Iterable[Stamped]) -> Iterator[tuple[Stamped, Embedded, SCT]]:
    for each in stamped:
        if each.embedded is not None:
            for sct in each.embedded.scts:
                yield each, each.embedded, sct


def _lifetime(leaf: Certificate) -> timedelta | None:
    if leaf.not_after is None or leaf.not_before is None:
        return None
    return leaf.not_after - leaf.not_before
