"""The other direction: what certificates in use carry of timestamps, and whether the logs kept the promise that each one is."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from certwatch.ct.heads import BadSignature, SignedHead
from certwatch.ct.log_list import Log
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import ProofError, leaf_hash
from certwatch.ct.scts import MAX_SCTS, SCT, SHORT_LIFE, parse_sct_list, policy_faults, read_embedded
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


#: Where a timestamp came from.
Way = Literal["certificate", "TLS", "OCSP"]
#: Facts of a place with what it sends beside the certificate.
_SENT: Mapping[str, Way] = {"tls_timestamps": "TLS", "staple_timestamps": "OCSP"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One timestamp, and what it is about."""

    sct: SCT
    way: Way
    #: The certificate; of one that stands in it, the TBSCertificate without the list.
    about: bytes
    #: SHA-256 of the issuer's public key. None: its certificate is not sent along.
    issuer_key: bytes | None

    @property
    def leaf(self) -> bytes | None:
        """MerkleTreeLeaf, which is also what is signed. None: the issuer is not known, whose key is in it."""
        if self.way != "certificate":
            return self.sct.certificate_leaf(self.about)
        return self.sct.leaf(self.about, self.issuer_key) if self.issuer_key is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A certificate in use with what it carries, and what is sent along with it."""

    certificate: Certificate
    #: Where it is seen, one of the places.
    place: LocationURI
    promises: tuple[Promise, ...]
    #: Why what it carries cannot be read. Empty: it can.
    unreadable: str = ""
    #: A place that sends none, of a certificate that carries none. None: there is no such place.
    place_without: LocationURI | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A log that is read, and what was verified of it."""

    log: Log
    source: LogSource
    head: SignedHead


def in_use(view: InventoryView) -> Iterator[Stamped]:
    """Each certificate once that is served somewhere and has timestamps. Blocking."""
    found: dict[bytes, Stamped] = {}
    # By certificate: the first place that was asked for some and sends none.
    without: dict[bytes, LocationURI] = {}
    seen: set[bytes] = set()
    for served in view.live():
        leaf = served.leaf
        if served.location.standing != "served" or leaf is None or leaf.is_ca:
            continue
        print = leaf.fingerprint_sha256
        if print not in seen and len(seen) >= MOST:
            break
        sends = any(each in served.facts for each in _SENT)
        if not sends and _was_asked(served):
            without.setdefault(print, served.location.uri)
        if print in seen and not sends:
            continue  # what stands in it is known
        seen.add(print)
        made, known = _stamped(served, leaf), found.get(print)
        if made is not None and known is not None:
            promises = tuple(dict.fromkeys((*known.promises, *made.promises)))[:MAX_SCTS]
            found[print] = replace(known, promises=promises)
        elif made is not None:
            found[print] = made
    for each in found.values():
        is_inside = any(promise.way == "certificate" for promise in each.promises)
        place = without.get(each.certificate.fingerprint_sha256)
        yield each if is_inside else replace(each, place_without=place)


def _was_asked(served: Served) -> bool:
    """A sweep goes no further than the certificate, and does not ask; nor is anything said where the last look failed."""
    return served.location.kind == "tls" and "swept" not in served.facts and served.failing_since is None


def _stamped(served: Served, leaf: Certificate) -> Stamped | None:
    """None: there is none of any sort."""
    issuer = next(
        (each for each in served.chain[1:] if each.subject_der == leaf.issuer_der and each.spki_sha256), None
    )
    key = issuer.spki_sha256 if issuer is not None else None
    promises: list[Promise] = []
    unreadable: list[str] = []
    try:
        embedded = read_embedded(leaf.der)
        if embedded is not None:
            promises += [
                Promise(sct=each, way="certificate", about=embedded.tbs, issuer_key=key)
                for each in embedded.scts
            ]
    except Malformed as error:
        unreadable.append(str(error))
    for name, way in _SENT.items():
        text = served.facts.get(name)
        if not isinstance(text, str):
            continue
        try:
            sent = parse_sct_list(base64.b64decode(text, validate=True))
            promises += [Promise(sct=each, way=way, about=leaf.der, issuer_key=key) for each in sent]
        except (Malformed, ValueError) as error:
            unreadable.append(f"by {way}: {error}")
    if not promises and not unreadable:
        return None
    return Stamped(
        certificate=leaf,
        place=served.location.uri,
        promises=tuple(promises),
        unreadable="; ".join(unreadable),
    )


class Timestamps:
    """What is known of them: signatures that were verified, promises that were asked about. Lives as long as the collector. Owned
    by its scan."""

    def __init__(self) -> None:
        # By certificate and promise.
        self._signed: dict[tuple[bytes, Promise], bool] = {}
        # The same. True: the log has the entry.
        self._kept: dict[tuple[bytes, Promise], bool] = {}

    def forget(self, stamped: Sequence[Stamped]) -> None:
        """All but these."""
        alive = {each.certificate.fingerprint_sha256 for each in stamped}
        self._signed = {key: value for key, value in self._signed.items() if key[0] in alive}
        self._kept = {key: value for key, value in self._kept.items() if key[0] in alive}

    async def ask(self, stamped: Sequence[Stamped], asked: Mapping[bytes, Asked]) -> None:
        """Logs about a sample of the promises that are due and were never asked about, or were broken when asked last."""
        left, silent = SAMPLE, set[bytes]()
        for each in stamped:
            for promise in each.promises:
                sct = promise.sct
                found = asked.get(sct.log_id)
                key = (each.certificate.fingerprint_sha256, promise)
                if (
                    found is None
                    or (leaf := promise.leaf) is None
                    or self._kept.get(key)
                    or sct.log_id in silent
                    # Within the maximum merge delay it may be missing.
                    or found.head.timestamp < sct.timestamp + (found.log.mmd + GRACE) / MILLISECOND
                    or not self._is_signed(each, promise, found.log)
                ):
                    continue
                if not left:
                    return
                left -= 1
                try:
                    self._kept[key] = await found.source.has(leaf_hash(leaf), sct.leaf_index, found.head)
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
        if not each.promises:
            return facts | {
                "sct_count": 0,
                "sct_valid": 0,
                "sct_fault": f"They cannot be read: {each.unreadable}",
            }
        good: list[tuple[Promise, Log]] = []
        faults: list[str] = []
        unlogged: list[str] = []
        for promise in each.promises:
            made_by = logs.get(promise.sct.log_id)
            if made_by is None:
                continue
            if not self._is_signed(each, promise, made_by):
                faults.append(f"the timestamp of {made_by.description} ({promise.way}) is not signed by it")
                continue
            good.append((promise, made_by))
            if self._kept.get((leaf.fingerprint_sha256, promise)) is False:
                unlogged.append(made_by.description)
        if each.unreadable:
            faults.append(f"some cannot be read: {each.unreadable}")
        if each.place_without is not None:
            faults.append(f"{each.place_without} sends none, and there is none in the certificate")
        if is_list_known:
            faults += _missing(good, _lifetime(leaf))
        ways = {promise.way: None for promise in each.promises}
        facts |= {
            "sct_count": len(each.promises),
            "sct_valid": len(good),
            "sct_logs": ", ".join(sorted({made_by.description for _, made_by in good})),
            "sct_from": ", ".join(sorted(ways)),
        }
        if any(promise.leaf is None for promise in each.promises):
            facts["sct_unverified"] = True
        if faults:
            facts["sct_fault"] = "; ".join(faults)
        if unlogged:
            facts["sct_unlogged"] = ", ".join(sorted(set(unlogged)))
        return facts

    def _is_signed(self, each: Stamped, promise: Promise, made_by: Log) -> bool:
        """True also if nothing can be verified, for want of the issuer."""
        leaf = promise.leaf
        if leaf is None:
            return True
        key = (each.certificate.fingerprint_sha256, promise)
        if key not in self._signed:
            try:
                made_by.key.verify(promise.sct.signature, leaf)
                self._signed[key] = True
            except BadSignature:
                self._signed[key] = False
        return self._signed[key]


def _missing(good: Sequence[tuple[Promise, Log]], lifetime: timedelta | None) -> list[str]:
    """What browsers miss: those in the certificate are enough, or those that are sent beside it are, of which two always
    suffice (Chrome's policy)."""
    inside = [(each.sct, made_by.operator) for each, made_by in good if each.way == "certificate"]
    beside = [(each.sct, made_by.operator) for each, made_by in good if each.way != "certificate"]
    if beside and not policy_faults(beside, SHORT_LIFE):
        return []
    return policy_faults(inside, lifetime) if inside or not beside else policy_faults(beside, SHORT_LIFE)


def _lifetime(leaf: Certificate) -> timedelta | None:
    if leaf.not_after is None or leaf.not_before is None:
        return None
    return leaf.not_after - leaf.not_before
