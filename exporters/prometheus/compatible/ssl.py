"""ssl_exporter's `ssl_*` of everything that certwatch looks at, beside what `/probe` answers by request."""

from certwatch.model.certificate import Certificate
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from exporters.prometheus import go_names
from exporters.prometheus.compatible.place import Place, PlaceKind, place
from exporters.prometheus.exposition import Buckets, Piece, head, line
from exporters.prometheus.families import Family
from exporters.prometheus.probe.answer import version_text

_CERTIFICATE = ("serial_no", "issuer_cn", "cn", "dnsnames", "ips", "emails", "ou")
#: Labels of a place, by its kind, and what its metrics are called. `location` tells two places apart that ssl_exporter
#: would have asked for by two requests.
_PLACES: dict[PlaceKind, tuple[str, tuple[str, ...]]] = {
    "tls": ("ssl_cert", ("instance",)),
    # Its prober http_file.
    "url": ("ssl_cert", ("instance",)),
    "file": ("ssl_file_cert", ("file",)),
    "kubeconfig": ("ssl_kubeconfig_cert", ("kubeconfig", "name", "type")),
    "kube-secret": ("ssl_kubernetes_cert", ("namespace", "secret", "key")),
}


def _family(kind: PlaceKind, end: str, text: str) -> Family:
    name, labels = _PLACES[kind]
    return Family(name=f"{name}_not_{end}", help=text, labels=(*labels, *_CERTIFICATE, "location"))


NOT_AFTER = {kind: _family(kind, "after", "End of validity of a certificate.") for kind in _PLACES}
NOT_BEFORE = {kind: _family(kind, "before", "Beginning of validity of a certificate.") for kind in _PLACES}
SUCCESS = Family(
    name="ssl_probe_success", help="1: the last look went well.", labels=("instance", "location")
)
PROBER = Family(name="ssl_prober", help="The prober.", labels=("prober", "instance", "location"))
VERSION = Family(
    name="ssl_tls_version_info", help="The version of TLS.", labels=("version", "instance", "location")
)
#: Each once.
FAMILIES = tuple(dict.fromkeys((*NOT_AFTER.values(), *NOT_BEFORE.values(), SUCCESS, PROBER, VERSION)))
_A_BUCKET = 64


class SSLMetrics:
    """Owned by one thread at a time, as the index beside it."""

    def __init__(self) -> None:
        self._buckets = {family: Buckets() for family in FAMILIES}

    def put(self, served: Served, now: float) -> None:
        """Take a location as it is now. A retired one is removed."""
        lines = dict.fromkeys(FAMILIES, b"")
        where = place(served.location.uri) if served.retired_at is None else None
        if where is not None and where.kind in _PLACES:
            _fill(lines, served, where)
        for family, text in lines.items():
            self._buckets[family].put(served.id // _A_BUCKET, served.id, text)

    def scanned(self, scan: Scan) -> None:
        """It has nothing to say of scans."""

    def forget(self, collector: str) -> None:
        """Nor of collectors."""

    def pieces(self, now: float, *, openmetrics: bool) -> list[Piece]:
        parts: list[Piece] = []
        for family, buckets in self._buckets.items():
            buckets.render()
            samples = buckets.pieces()
            if samples:
                parts += (head(family, openmetrics=openmetrics), *samples)
        return parts


def _fill(lines: dict[Family, bytes], served: Served, where: Place) -> None:
    uri = served.location.uri
    # A chain may hold one certificate twice.
    for certificate in {each.fingerprint_sha256: each for each in served.chain}.values():
        labels = (*_labels(where), *_of_certificate(certificate), uri)
        for family, instant in (
            (NOT_AFTER[where.kind], certificate.not_after),
            (NOT_BEFORE[where.kind], certificate.not_before),
        ):
            if instant is not None:
                lines[family] += line(family, labels, int(instant.timestamp()))
    if where.kind in ("tls", "url"):
        lines[SUCCESS] += line(SUCCESS, (where.path, uri), 0 if served.error else 1)
        lines[PROBER] += line(PROBER, ("tcp" if where.kind == "tls" else "http_file", where.path, uri), 1)
        version = served.facts.get("tls_version")
        if version is not None:
            lines[VERSION] += line(VERSION, (version_text(str(version)), where.path, uri), 1)


def _labels(where: Place) -> tuple[str, ...]:
    if where.kind == "kubeconfig":
        return (where.path, where.embedded_key, where.embedded_kind)
    if where.kind == "kube-secret":
        return (where.namespace, where.name, where.key)
    return (where.path,)


def _of_certificate(certificate: Certificate) -> tuple[str, ...]:
    labels = go_names.ssl_labels(certificate)
    return tuple(labels[each] for each in _CERTIFICATE)
