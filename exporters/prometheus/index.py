"""What is exported now: each location's and certificate's samples, and the sums over them, kept as they change."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.model.clock import Clock, system_clock
from certwatch.model.finding import Finding, FindingID
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.telemetry.metrics import COMPROMISE_RECOVERY, RENEWALS
from exporters.prometheus import families
from exporters.prometheus.certificates import Certificates
from exporters.prometheus.compatible.ssl import SSLMetrics
from exporters.prometheus.compatible.x509 import X509Metrics
from exporters.prometheus.exposition import Buckets, Piece, head, line
from exporters.prometheus.families import FAMILIES, Family
from exporters.prometheus.instants import Instants
from exporters.prometheus.numbered import Numbered
from exporters.prometheus.places import Counted, Places

#: So many locations, or certificates, share a bucket: neighbours in order of arrival, which change together.
A_BUCKET = 64
#: Rules whose findings end when a compromised key is no longer in use (M10).
COMPROMISE = frozenset({"compromised", "key-broken"})
#: Names shown of one certificate.
MAX_NAMES = 10
#: Kinds of places that are single entries of books: a million of them are no series.
WITHOUT_SERIES = frozenset({"cadb", "ct", "ct-search"})

Group = tuple[str, str, str]


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
        self._places = Places()
        self._groups: Numbered[Group] = Numbered()
        self._certificates = Certificates()
        #: Chains without their leaf: the numbers of their certificates.
        self._rests: Numbered[tuple[int, ...]] = Numbered()
        self._locations: Counter[Group] = Counter()
        self._failing: Counter[Group] = Counter()
        self._expiries: dict[tuple[str, str, str], Instants] = {}
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
        before = self._places.get(served.id)
        now = self._add(served) if served.retired_at is None else None
        if before is not None:
            if now is not None:
                self._count_renewal(before, now, served)
            self._subtract(before)
        if now is not None:
            self._places.put(served.id, now)
        elif before is not None:
            self._places.remove(served.id)
        if self._per_certificate:
            self._show(served)
        instant = self._clock().timestamp()
        for each in self._compatible:
            each.put(served, instant)

    def _add(self, served: Served) -> Counted:
        labels: Group = (
            served.owner,
            served.location.labels.get("environment", ""),
            served.collectors[0] if served.collectors else "",
        )
        group = self._groups.take(labels)
        numbers = []
        for certificate in {each.fingerprint_sha256: each for each in served.chain}.values():
            number, is_new = self._certificates.take(certificate, group)
            numbers.append(number)
            if is_new and self._per_certificate:
                self._show_certificate(number, certificate)
        leaf = numbers[0] if numbers else 0
        standing = served.location.standing
        counts = (
            leaf
            and self._certificates.ends(leaf) is not None
            and standing != "recorded"
            and served.facts.get("arrangement") != "bundle"
        )
        counted = Counted(
            group=group,
            leaf=leaf,
            rest=self._rests.take(tuple(numbers[1:])),
            failing=served.error is not None,
            standing=standing if counts else None,
        )
        self._locations[labels] += 1
        self._failing[labels] += counted.failing
        self._expire(counted, labels, 1)
        self._sum(labels, group)
        return counted

    def _subtract(self, counted: Counted) -> None:
        labels = self._groups[counted.group]
        self._locations[labels] -= 1
        self._failing[labels] -= counted.failing
        self._expire(counted, labels, -1)
        for number in (*([counted.leaf] if counted.leaf else []), *self._rests[counted.rest]):
            gone = self._certificates.release(number, counted.group)
            if gone is not None and self._per_certificate:
                for family in (families.INFO, families.NOT_BEFORE):
                    self._buckets[family.name].put(number // A_BUCKET, gone, b"")
        self._sum(labels, counted.group)
        self._rests.release(counted.rest)
        self._groups.release(counted.group)

    def _expire(self, counted: Counted, labels: Group, by: int) -> None:
        """Count the end of its leaf, or count it no more."""
        if counted.standing is None:
            return
        ends = self._certificates.ends(counted.leaf)
        assert ends is not None  # noqa: S101
        key = (*labels[:2], counted.standing)
        instants = self._expiries.setdefault(key, Instants())
        (instants.add if by > 0 else instants.remove)(ends)
        # Asked for when it is rendered: the earliest of many is not computed at every change.
        self._stale_expiries.add(key)

    def _sum(self, labels: Group, group: int) -> None:
        locations = self._locations[labels]
        self._set(families.LOCATIONS, labels, locations or None)
        self._set(families.LOCATIONS_FAILING, labels, self._failing[labels] if locations else None)
        self._set(families.CERTIFICATES, labels, self._certificates.different(group) if locations else None)

    def _count_renewal(self, before: Counted, now: Counted, served: Served) -> None:
        if before.standing is None or now.standing is None or served.last_served is None:
            return
        ended, ends = self._certificates.ends(before.leaf), self._certificates.ends(now.leaf)
        if before.leaf == now.leaf or ended is None or ends is None or ends <= ended:
            return
        in_time = served.last_served.timestamp() < self._certificates.late_from(before.leaf)
        owner, environment, _ = self._groups[now.group]
        RENEWALS.labels(owner, environment, "in-time" if in_time else "late").inc()

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

    def _show_certificate(self, number: int, certificate: Certificate) -> None:
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
            self._set(families.EARLIEST, labels, expiries.earliest() if expiries else None)
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


def _next_update(served: Served) -> int | None:
    """Of a CRL that is seen there. None: there is none, or it does not say."""
    try:
        return int(datetime.fromisoformat(str(served.facts["crl_next_update"])).timestamp())
    except (KeyError, ValueError):
        return None
