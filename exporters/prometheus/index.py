"""What is exported now: each location's and certificate's samples, and the sums over them, kept as they change."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.model.clock import Clock, system_clock
from certwatch.model.finding import Finding, FindingID
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.telemetry.metrics import COMPROMISE_RECOVERY, RENEWALS
from exporters.prometheus import families
from exporters.prometheus.compatible.ssl import SSLMetrics
from exporters.prometheus.compatible.x509 import X509Metrics
from exporters.prometheus.exposition import Buckets, Piece, head, line
from exporters.prometheus.families import FAMILIES, Family

#: So many locations, or certificates, share a bucket: neighbours in order of arrival, which change together.
A_BUCKET = 64
#: As the expiry rule has it.
PAGE_LEAD = timedelta(hours=48)
#: Rules whose findings end when a compromised key is no longer in use (M10).
COMPROMISE = frozenset({"compromised", "key-broken"})
#: Names shown of one certificate.
MAX_NAMES = 10
#: Kinds of places that are single entries of books: a million of them are no series.
WITHOUT_SERIES = frozenset({"cadb", "ct", "ct-search"})

Group = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Counted:
    """What one location adds to the sums, so that it can be taken away again."""

    group: Group
    failing: bool
    fingerprints: tuple[Fingerprint, ...]
    expiry: tuple[tuple[str, str, str], float] | None
    #: From when on a renewal of the leaf is late, seconds since 1970.
    late_from: float = 0.0


class Index:
    """Owned by one thread at a time: the one that fills it at the start, then the event loop."""

    def __init__(
        self,
        *,
        per_certificate: bool,
        clock: Clock = system_clock,
        compatible: Sequence[X509Metrics | SSLMetrics] = (),
    ) -> None:
        self._per_certificate = per_certificate
        self._clock = clock
        #: Of other exporters' names.
        self._compatible = tuple(compatible)
        self._buckets: dict[str, Buckets] = {family.name: Buckets() for family in FAMILIES}
        self._counted: dict[int, _Counted] = {}
        self._references: Counter[Fingerprint] = Counter()
        #: Certificates numbered as they come.
        self._numbers: dict[Fingerprint, int] = {}
        self._arrivals = count()
        self._locations: Counter[Group] = Counter()
        self._failing: Counter[Group] = Counter()
        self._certificates: dict[Group, Counter[Fingerprint]] = {}
        self._expiries: dict[tuple[str, str, str], dict[int, float]] = {}
        #: Groups whose minimum must be computed before the next page.
        self._stale_expiries: set[tuple[str, str, str]] = set()
        self._findings: dict[FindingID, tuple[Family, tuple[str, str, str]]] = {}
        self._open: Counter[tuple[Family, tuple[str, str, str]]] = Counter()
        #: Of open findings by rule, severity and owner: when each was opened.
        self._opened: dict[tuple[str, str, str], dict[FindingID, float]] = {}
        self._stale_oldest: set[tuple[str, str, str]] = set()

    def put(self, served: Served) -> None:
        """Take a location as it is now. A retired one is removed. An entry in a CA's books or in a log is neither
        counted nor shown: the location of the books as a whole says how many they are."""
        if served.location.kind in WITHOUT_SERIES:
            return
        # The new is added before the old is taken away: what both have keeps its samples.
        before = self._counted.pop(served.id, None)
        if served.retired_at is None:
            self._add(served)
        if before is not None:
            _count_renewal(before, self._counted.get(served.id), served)
            self._subtract(served.id, before)
        if self._per_certificate:
            self._show(served)
        now = self._clock().timestamp()
        for each in self._compatible:
            each.put(served, now)

    def _add(self, served: Served) -> None:
        labels = served.location.labels
        environment = labels.get("environment", "")
        group = (served.owner, environment, served.collectors[0] if served.collectors else "")
        certificates = {each.fingerprint_sha256: each for each in served.chain}
        leaf, expiry = served.leaf, None
        standing = served.location.standing
        if (
            leaf is not None
            and leaf.not_after is not None
            and standing != "recorded"
            and served.facts.get("arrangement") != "bundle"
        ):
            expiry = ((served.owner, environment, standing), leaf.not_after.timestamp())
        counted = _Counted(
            group, served.error is not None, tuple(certificates), expiry, _late_from(leaf) if leaf else 0.0
        )
        self._counted[served.id] = counted
        self._locations[group] += 1
        self._failing[group] += counted.failing
        here = self._certificates.setdefault(group, Counter())
        for fingerprint, certificate in certificates.items():
            here[fingerprint] += 1
            self._references[fingerprint] += 1
            if self._per_certificate and self._references[fingerprint] == 1:
                self._show_certificate(certificate)
        if expiry is not None:
            self._expiries.setdefault(expiry[0], {})[served.id] = expiry[1]
        self._sum(group, expiry[0] if expiry else None)

    def _subtract(self, location: int, counted: _Counted) -> None:
        self._locations[counted.group] -= 1
        self._failing[counted.group] -= counted.failing
        here = self._certificates[counted.group]
        for fingerprint in counted.fingerprints:
            for counter in (here, self._references):
                counter[fingerprint] -= 1
                if not counter[fingerprint]:
                    del counter[fingerprint]
            if fingerprint not in self._references and fingerprint in self._numbers:
                number = self._numbers.pop(fingerprint)
                for family in (families.INFO, families.NOT_BEFORE):
                    self._buckets[family.name].put(number // A_BUCKET, fingerprint, b"")
        if counted.expiry is not None:
            now = self._counted.get(location)
            if now is None or now.expiry is None or now.expiry[0] != counted.expiry[0]:
                del self._expiries[counted.expiry[0]][location]
        self._sum(counted.group, counted.expiry[0] if counted.expiry else None)

    def _sum(self, group: Group, expiry: tuple[str, str, str] | None) -> None:
        locations = self._locations[group]
        self._set(families.LOCATIONS, group, locations or None)
        self._set(families.LOCATIONS_FAILING, group, self._failing[group] if locations else None)
        self._set(families.CERTIFICATES, group, len(self._certificates[group]) if locations else None)
        if expiry is not None:
            # Asked for when it is rendered: a minimum over many is not computed at every change.
            self._stale_expiries.add(expiry)

    def _set(self, family: Family, labels: tuple[str, ...], value: float | int | None) -> None:
        self._buckets[family.name].put(0, labels, b"" if value is None else line(family, labels, value))

    def _show(self, served: Served) -> None:
        bucket = served.id // A_BUCKET
        not_after, up, failing_since, last_served, next_update = b"", b"", b"", b"", b""
        if served.retired_at is None:
            uri = served.location.uri
            environment = served.location.labels.get("environment", "")
            collector = served.collectors[0] if served.collectors else ""
            up = line(
                families.UP,
                (uri, served.owner, environment, collector, served.error.kind if served.error else ""),
                0 if served.error else 1,
            )
            for position, certificate in enumerate(served.chain):
                if certificate.not_after is not None:
                    values = (
                        uri,
                        str(position),
                        certificate.fingerprint_sha256.hex(),
                        certificate.shown,
                        served.owner,
                        environment,
                        collector,
                    )
                    not_after += line(families.NOT_AFTER, values, int(certificate.not_after.timestamp()))
            ends = _next_update(served)
            if ends is not None:
                issuer = str(served.facts.get("crl_issuer") or "")
                values_of_crl = (uri, issuer, served.owner, environment, collector)
                next_update = line(families.CRL_NEXT_UPDATE, values_of_crl, ends)
            if served.failing_since is not None:
                failing_since = line(families.FAILING_SINCE, (uri,), served.failing_since.timestamp())
                if served.last_served is not None:
                    last_served = line(families.LAST_SERVED, (uri,), served.last_served.timestamp())
        shown = (
            (families.NOT_AFTER, not_after),
            (families.UP, up),
            (families.FAILING_SINCE, failing_since),
            (families.LAST_SERVED, last_served),
            (families.CRL_NEXT_UPDATE, next_update),
        )
        for family, samples in shown:
            self._buckets[family.name].put(bucket, served.id, samples)

    def _show_certificate(self, certificate: Certificate) -> None:
        fingerprint = certificate.fingerprint_sha256
        shown = fingerprint.hex()
        names = ",".join(certificate.names[:MAX_NAMES])
        if len(certificate.names) > MAX_NAMES:
            names += f",… ({len(certificate.names)})"
        info = (
            shown,
            certificate.subject,
            certificate.issuer,
            certificate.serial_hex,
            names,
            certificate.key.type,
            str(certificate.key.bits or ""),
            certificate.signature_algorithm,
            "true" if certificate.is_ca else "false",
        )
        number = self._numbers[fingerprint] = next(self._arrivals)
        bucket = number // A_BUCKET
        self._buckets[families.INFO.name].put(bucket, fingerprint, line(families.INFO, info, 1))
        if certificate.not_before is not None:
            begin = line(families.NOT_BEFORE, (shown,), int(certificate.not_before.timestamp()))
            self._buckets[families.NOT_BEFORE.name].put(bucket, fingerprint, begin)

    def open(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._close(finding.id)
            family = families.FINDINGS if finding.silence is None else families.SILENCED
            counted = family, (finding.rule, finding.severity, finding.owner)
            self._findings[finding.id] = counted
            self._count(counted, 1)
            self._opened.setdefault(counted[1], {})[finding.id] = finding.opened_at.timestamp()
            self._stale_oldest.add(counted[1])

    def resolve(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._close(finding.id)
            if finding.rule in COMPROMISE and finding.resolved_at is not None:
                COMPROMISE_RECOVERY.observe((finding.resolved_at - finding.opened_at).total_seconds())

    def _close(self, finding: FindingID) -> None:
        counted = self._findings.pop(finding, None)
        if counted is not None:
            self._count(counted, -1)
            self._opened[counted[1]].pop(finding, None)
            self._stale_oldest.add(counted[1])

    def _count(self, counted: tuple[Family, tuple[str, str, str]], by: int) -> None:
        self._open[counted] += by
        # A rule that has nothing to say stays at 0: a series that vanishes resolves nothing.
        self._set(*counted, self._open[counted])

    def scanned(self, scan: Scan) -> None:
        for each in self._compatible:
            each.scanned(scan)
        if scan.finished_at is not None:
            samples = line(families.LAST_SCAN, (scan.collector, scan.status), scan.finished_at.timestamp())
            self._buckets[families.LAST_SCAN.name].put(0, scan.collector, samples)

    def forget(self, collector: str) -> None:
        """It is configured no more. What it had seen is told as retired."""
        for each in self._compatible:
            each.forget(collector)
        self._buckets[families.LAST_SCAN.name].put(0, collector, b"")

    def render(self) -> None:
        """Make every byte ready."""
        for labels in self._stale_expiries:
            expiries = self._expiries.get(labels)
            self._set(families.EARLIEST, labels, min(expiries.values()) if expiries else None)
        self._stale_expiries.clear()
        for labels in self._stale_oldest:
            opened = self._opened.get(labels)
            self._set(families.OLDEST, labels, min(opened.values()) if opened else None)
        self._stale_oldest.clear()
        for buckets in self._buckets.values():
            buckets.render()

    def pieces(self, *, openmetrics: bool) -> list[Piece]:
        """Everything, family by family: a snapshot, made at once."""
        self.render()
        parts: list[Piece] = []
        for family in FAMILIES:
            samples = self._buckets[family.name].pieces()
            if samples:
                parts += (head(family, openmetrics=openmetrics), *samples)
        now = self._clock().timestamp()
        for each in self._compatible:
            parts += each.pieces(now, openmetrics=openmetrics)
        return parts


def _late_from(leaf: Certificate) -> float:
    """When somebody would be paged for it: what comes later was not renewed by itself."""
    if leaf.not_after is None:
        return 0.0
    return (leaf.not_after - min(PAGE_LEAD, (leaf.lifetime or PAGE_LEAD) / 12)).timestamp()


def _count_renewal(before: _Counted, now: _Counted | None, served: Served) -> None:
    if now is None or before.expiry is None or now.expiry is None or served.last_served is None:
        return
    if before.fingerprints[:1] == now.fingerprints[:1] or now.expiry[1] <= before.expiry[1]:
        return
    outcome = "in-time" if served.last_served.timestamp() < before.late_from else "late"
    owner, environment, _ = now.expiry[0]
    RENEWALS.labels(owner, environment, outcome).inc()


def _next_update(served: Served) -> int | None:
    """Of a CRL that is seen there. None: there is none, or it does not say."""
    try:
        return int(datetime.fromisoformat(str(served.facts["crl_next_update"])).timestamp())
    except (KeyError, ValueError):
        return None
