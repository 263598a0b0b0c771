"""x509-certificate-exporter's `x509_cert_*`, `x509_crl_*` and `x509_source_*`, of files and Kubernetes as there."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.telemetry.metrics import OBSERVATIONS
from exporters.prometheus import go_names
from exporters.prometheus.compatible.place import Place, place
from exporters.prometheus.exposition import Buckets, Piece, head, line
from exporters.prometheus.families import Family

_FIELDS = ("C", "ST", "L", "O", "OU", "CN")
#: The places' labels, and which end of a CRL or certificate it is.
_PLACE = (
    "filename",
    "filepath",
    "embedded_kind",
    "embedded_key",
    "secret_namespace",
    "secret_name",
    "secret_key",
    "configmap_namespace",
    "configmap_name",
    "configmap_key",
    "cabundle_resource_kind",
    "cabundle_resource_name",
    "cabundle_entry",
)
LABELS = (
    "serial_number",
    *(f"subject_{each}" for each in _FIELDS),
    *(f"issuer_{each}" for each in _FIELDS),
    *_PLACE,
    "crl_number",
    # Only where all others are the same.
    "discriminator",
)
SOURCE = ("source_kind", "source_name")

NOT_AFTER = Family(name="x509_cert_not_after", help="End of validity of a certificate.", labels=LABELS)
NOT_BEFORE = Family(
    name="x509_cert_not_before", help="Beginning of validity of a certificate.", labels=LABELS
)
EXPIRED = Family(name="x509_cert_expired", help="1: the certificate has expired.", labels=LABELS)
ERROR = Family(name="x509_cert_error", help="1: what is there could not be read.", labels=LABELS)
CRL_NEXT = Family(name="x509_crl_next_update", help="When there is to be a newer CRL.", labels=LABELS)
CRL_THIS = Family(name="x509_crl_this_update", help="When the CRL was made.", labels=LABELS)
CRL_NUMBER = Family(name="x509_crl_number", help="The CRL's number.", labels=LABELS)
CRL_STALE = Family(name="x509_crl_stale", help="1: there was to be a newer CRL by now.", labels=LABELS)
UP = Family(name="x509_source_up", help="1: the collector's last scan did not fail.", labels=SOURCE)
BUNDLES = Family(name="x509_source_bundles", help="Places with certificates or CRLs.", labels=SOURCE)
ERRORS = Family(
    name="x509_source_errors_total",
    help="Looks that failed, by reason.",
    labels=(*SOURCE, "reason"),
    type="counter",
)
PASSPHRASES = Family(
    name="x509_pkcs12_passphrase_failures_total",
    help="Looks at keystores, of whatever format, that no passphrase opened.",
    labels=SOURCE,
    type="counter",
)
FAMILIES = (
    NOT_AFTER,
    NOT_BEFORE,
    EXPIRED,
    ERROR,
    CRL_NEXT,
    CRL_THIS,
    CRL_NUMBER,
    CRL_STALE,
    UP,
    BUNDLES,
    ERRORS,
    PASSPHRASES,
)

#: Its reasons for ours.
REASONS: Mapping[str, str] = {
    "malformed": "bad_pem",
    "no-certificate": "no_certificate_found",
    "passphrase": "bad_passphrase",
    "permission": "permission_denied",
    "not-found": "not_found",
}
#: All that it knows: each of a source is told from the beginning, so that its first error is an increase.
ALL_REASONS = (
    "api_error",
    "bad_crl",
    "bad_der",
    "bad_jks",
    "bad_passphrase",
    "bad_pem",
    "bad_pkcs12",
    "broken_symlink",
    "decode_failed",
    "no_certificate_found",
    "not_found",
    "out_of_scope_symlink",
    "parse_timeout",
    "permission_denied",
    "rate_limited",
    "read_failed",
    "walk_error",
)
_SOURCES: Mapping[str, str] = {"file": "file", "kubernetes": "kube-secret"}
_A_BUCKET = 64
#: Places that it has no labels for.
_ELSEWHERE = ("tls", "url")


@dataclass(slots=True)
class _Entry:
    """One certificate or CRL at one place."""

    #: Of a location, and which of it.
    key: tuple[int, int]
    #: Labels but for the discriminator.
    labels: tuple[str, ...]
    discriminator: str
    #: Values that do not change.
    values: dict[Family, int] = field(default_factory=dict)
    #: What becomes 1 at an instant (seconds since 1970).
    turns: dict[Family, float] = field(default_factory=dict)


class X509Metrics:
    """Owned by one thread at a time, as the index beside it."""

    def __init__(self) -> None:
        self._buckets = {family: Buckets() for family in FAMILIES}
        self._entries: dict[int, list[_Entry]] = {}
        #: By their labels, who has them: more than one are told apart by a discriminator.
        self._same: dict[tuple[str, ...], dict[tuple[int, int], _Entry]] = {}
        self._turns: list[tuple[float, tuple[int, int]]] = []
        self._sources: dict[int, tuple[str, str]] = {}
        self._bundles: Counter[tuple[str, str]] = Counter()
        self._up: dict[str, int] = {}

    def put(self, served: Served, now: float) -> None:
        """Take a location as it is now. A retired one is removed. `now`: seconds since 1970."""
        where = place(served.location.uri) if served.retired_at is None else None
        entries = _entries(served, where) if where is not None and where.kind not in _ELSEWHERE else []
        for old in self._entries.pop(served.id, []):
            self._leave(old, now)
        if entries:
            self._entries[served.id] = entries
        for entry in entries:
            self._join(entry, now)
        holds = any(NOT_AFTER in each.values or CRL_NUMBER in each.values for each in entries)
        self._count(served, where if holds else None)

    def _join(self, entry: _Entry, now: float) -> None:
        same = self._same.setdefault(entry.labels, {})
        same[entry.key] = entry
        # The second one gives the first one a discriminator.
        for each in same.values() if len(same) == 2 else (entry,):
            self._show(each, now)
        for instant in entry.turns.values():
            if instant > now:
                heapq.heappush(self._turns, (instant, entry.key))

    def _leave(self, entry: _Entry, now: float) -> None:
        same = self._same[entry.labels]
        del same[entry.key]
        for family in (*entry.values, *entry.turns):
            self._buckets[family].put(entry.key[0] // _A_BUCKET, entry.key, b"")
        if len(same) == 1:
            self._show(next(iter(same.values())), now)
        elif not same:
            del self._same[entry.labels]

    def _show(self, entry: _Entry, now: float) -> None:
        alone = len(self._same[entry.labels]) == 1
        labels = (*entry.labels, "" if alone else entry.discriminator)
        values = entry.values | {family: int(instant < now) for family, instant in entry.turns.items()}
        for family, value in values.items():
            self._buckets[family].put(entry.key[0] // _A_BUCKET, entry.key, line(family, labels, value))

    def _count(self, served: Served, where: Place | None) -> None:
        before = self._sources.pop(served.id, None)
        if before is not None:
            self._bundles[before] -= 1
        if where is not None and served.collectors and where.kind not in _ELSEWHERE:
            source = self._sources[served.id] = (where.kind, served.collectors[0])
            self._bundles[source] += 1

    def scanned(self, scan: Scan) -> None:
        self._up[scan.collector] = int(scan.status != "failed")

    def forget(self, collector: str) -> None:
        self._up.pop(collector, None)
        for source in [each for each in self._bundles if each[1] == collector]:
            del self._bundles[source]

    def pieces(self, now: float, *, openmetrics: bool) -> list[Piece]:
        while self._turns and self._turns[0][0] < now:
            _, (location, number) = heapq.heappop(self._turns)
            for entry in self._entries.get(location, ()):
                if entry.key[1] == number:
                    self._show(entry, now)
        self._put_sources()
        parts: list[Piece] = []
        for family, buckets in self._buckets.items():
            buckets.render()
            samples = buckets.pieces()
            if samples:
                parts += (head(family, openmetrics=openmetrics), *samples)
        return parts

    def _put_sources(self) -> None:
        lines = dict.fromkeys((UP, BUNDLES, ERRORS, PASSPHRASES), b"")
        for (kind, name), bundles in sorted(self._bundles.items()):
            lines[BUNDLES] += line(BUNDLES, (kind, name), bundles)
            if name in self._up:
                lines[UP] += line(UP, (kind, name), self._up[name])
        errors = {(*source, reason): 0 for source in self._bundles for reason in ALL_REASONS}
        for sample in (each for metric in OBSERVATIONS.collect() for each in metric.samples):
            kind, outcome = _SOURCES.get(sample.labels["kind"], ""), sample.labels["outcome"]
            if not kind or outcome == "ok" or not sample.name.endswith("_total"):
                continue
            name, value = sample.labels["collector"], int(sample.value)
            reason = (kind, name, REASONS.get(outcome, "read_failed"))
            # Several of our kinds are one of theirs.
            errors[reason] = errors.get(reason, 0) + value
            if outcome == "passphrase":
                lines[PASSPHRASES] += line(PASSPHRASES, (kind, name), value)
        for (kind, name, said), value in sorted(errors.items()):
            lines[ERRORS] += line(ERRORS, (kind, name, said), value)
        for family, text in lines.items():
            self._buckets[family].put(0, 0, text)


def _entries(served: Served, where: Place) -> list[_Entry]:
    labels = _place_labels(where)
    uri = served.location.uri
    entries = [_certificate(served.id, number, each, labels, uri) for number, each in enumerate(served.chain)]
    if "crl_kind" in served.facts:
        entries.append(_crl(served, len(entries), labels))
    if served.error is not None:
        empty = ("",) * (1 + 2 * len(_FIELDS))
        key = (served.id, len(entries))
        discriminator = _digest(uri, "error")
        entries.append(
            _Entry(key=key, labels=(*empty, *labels, ""), discriminator=discriminator, values={ERROR: 1})
        )
    return entries


def _place_labels(where: Place) -> tuple[str, ...]:
    on_disk = where.kind in ("file", "kubeconfig")
    secret, configmap = where.kind == "kube-secret", where.kind == "kube-configmap"
    bundle = where.kind == "kube-cabundle"
    return (
        where.filename if on_disk else "",
        where.path if on_disk else "",
        where.embedded_kind,
        where.embedded_key,
        *((where.namespace, where.name, where.key) if secret else ("", "", "")),
        *((where.namespace, where.name, where.key) if configmap else ("", "", "")),
        *((where.object_kind, where.name, where.key) if bundle else ("", "", "")),
    )


def _certificate(
    location: int, number: int, certificate: Certificate, where: tuple[str, ...], uri: str
) -> _Entry:
    values, turns = {}, {}
    if certificate.not_after is not None:
        end = int(certificate.not_after.timestamp())
        values[NOT_AFTER], turns[EXPIRED] = end, float(end)
    if certificate.not_before is not None:
        values[NOT_BEFORE] = int(certificate.not_before.timestamp())
    return _Entry(
        key=(location, number),
        labels=(
            "" if certificate.serial_number is None else str(certificate.serial_number),
            *_fields(go_names.fields(certificate.subject_der)),
            *_fields(go_names.fields(certificate.issuer_der)),
            *where,
            "",
        ),
        discriminator=_digest(certificate.fingerprint_sha256.hex(), uri, str(number)),
        values=values,
        turns=turns,
    )


def _crl(served: Served, number: int, where: tuple[str, ...]) -> _Entry:
    facts = served.facts
    issuer = go_names.parsed(str(facts.get("crl_issuer") or ""))
    shown = str(facts.get("crl_number") or "")
    values = {CRL_NUMBER: int(shown) if shown.isdigit() else 0}
    turns = {}
    this, following = _seconds(facts.get("crl_this_update")), _seconds(facts.get("crl_next_update"))
    if this is not None:
        values[CRL_THIS] = this
    if following is not None:
        values[CRL_NEXT], turns[CRL_STALE] = following, float(following)
    nobody = ("",) * (1 + len(_FIELDS))
    return _Entry(
        key=(served.id, number),
        labels=(*nobody, *_fields(issuer), *where, shown),
        discriminator=_digest(served.location.uri, shown),
        values=values,
        turns=turns,
    )


def _fields(known: Mapping[str, tuple[str, ...]]) -> Iterable[str]:
    return (known[each][0] if each in known else "" for each in _FIELDS)


def _seconds(value: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(value)).timestamp())
    except ValueError:
        return None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
