"""Which certificates must be asked about, and who issued them: read from the inventory, page by page."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.model.sighting import Served
from certwatch.pki.signatures import signature
from certwatch.plugins.view import InventoryView

#: Kinds of location that say what this collector itself found out.
OWN_KINDS = ("ocsp", "http", "https", "aia")
#: Kind of location of a certificate in a CA's books, whose facts say whether the CA has revoked it.
BOOKS_KIND = "cadb"
#: Revoked certificates in CAs' books that are asked about.
MOST_REVOKED = 20_000
#: URLs of a kind that one certificate may have asked: clients take the first that answers, and a hostile one names thousands, of
#: whomever it likes.
MOST_URLS = 4
#: CA certificates of one name that are tried as issuer.
_MOST_OF_ONE_NAME = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    certificate: Certificate
    #: None: not known, so that no OCSP request can be made.
    issuer: Certificate | None
    #: Where it was met first.
    at: Served
    #: What its CA's books say, if they say that it is revoked. None: they do not, or nobody reads them.
    revoked: Served | None = None
    #: An endpoint presents it without its issuer, though that may be seen elsewhere: what is missing there is to be named.
    lacking: bool = False
    #: Asked about already, at another place: it is the issuer alone that is wanted.
    known: bool = False

    @property
    def is_without_issuer(self) -> bool:
        """It is to be fetched from where it is published. A root need not be presented."""
        if self.issuer is None:
            return not self.certificate.is_self_issued
        return self.lacking and not self.issuer.is_self_issued

    @property
    def ocsp_urls(self) -> tuple[str, ...]:
        return _first(self.certificate.ocsp_urls)

    @property
    def crl_urls(self) -> tuple[str, ...]:
        return _first(self.certificate.crl_urls)

    @property
    def issuer_urls(self) -> tuple[str, ...]:
        return _first(self.certificate.issuer_urls)


def _first(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(urls))[:MOST_URLS]


@dataclass(slots=True)
class Authorities:
    """CA certificates by name. Filled by one thread, then only read."""

    by_subject: dict[bytes, list[Certificate]] = field(default_factory=dict)
    #: Places in CAs' books where a certificate is revoked and has not ended, by the beginning of its SHA-256.
    revoked: dict[bytes, Served] = field(default_factory=dict)

    def note(self, served: Served, now: datetime) -> None:
        """Of a place in a CA's books."""
        leaf = served.leaf
        if (
            leaf is not None
            and served.facts.get("ca_status") == "revoked"
            and (leaf.not_after is None or leaf.not_after >= now)
            and len(self.revoked) < MOST_REVOKED
        ):
            self.revoked[leaf.fingerprint_sha256[:8]] = served

    def add(self, certificate: Certificate) -> None:
        if certificate.subject_der is None or not (certificate.is_ca or certificate.is_self_issued):
            return
        same = self.by_subject.setdefault(certificate.subject_der, [])
        if certificate not in same and len(same) < _MOST_OF_ONE_NAME:
            same.append(certificate)

    def issuer_of(self, certificate: Certificate) -> Certificate | None:
        for each in self.by_subject.get(certificate.issuer_der or b"", ()):
            if signature(certificate, each) == "good":
                return each
        return None


def authorities(view: InventoryView, now: datetime) -> Authorities:
    """Every CA certificate that is seen anywhere, and what CAs' books have revoked. Blocking."""
    found = Authorities()
    for served in view.live():
        if served.location.kind == "aia":
            continue  # fetched anew, or it would be taken for gone
        if served.location.kind == BOOKS_KIND:
            found.note(served, now)
            continue
        alone = served.location.kind == "file" or served.facts.get("arrangement") == "bundle"
        for each in served.chain if alone else served.chain[1:]:
            found.add(each)
    return found


def _lacks_issuer(certificate: Certificate, served: Served) -> bool:
    return (
        served.location.standing == "served"
        and bool(certificate.issuer_urls)
        and not certificate.is_self_issued
        and all(each.subject_der != certificate.issuer_der for each in served.chain)
    )


def wanted(view: InventoryView, known: Authorities) -> Iterator[Wanted]:
    """Each certificate once (once more where an endpoint first lacks its issuer) that names an OCSP responder, a CRL or its issuer's certificate and is in force somewhere: leaves and the
    intermediates above them; of bundles nothing, and of what stands in books and logs only that which a CA has revoked: whether
    clients hear of it. Blocking, streams."""
    seen: set[bytes] = set()
    lacked: set[bytes] = set()
    for served in view.live():
        if (
            served.location.kind in OWN_KINDS
            or served.location.standing == "recorded"
            or served.facts.get("arrangement") == "bundle"
        ):
            continue
        for each in served.chain:
            # Eight bytes tell them apart well enough, and a million of them are little.
            short = each.fingerprint_sha256[:8]
            lacking = short not in lacked and _lacks_issuer(each, served)
            if (short in seen and not lacking) or not (each.ocsp_urls or each.crl_urls or each.issuer_urls):
                continue
            if lacking:
                lacked.add(short)
            yield Wanted(
                certificate=each,
                issuer=known.issuer_of(each),
                at=served,
                revoked=known.revoked.get(short),
                lacking=lacking,
                known=short in seen,
            )
            seen.add(short)
    for short, served in known.revoked.items():
        leaf = served.leaf
        if leaf is not None and short not in seen and (leaf.ocsp_urls or leaf.crl_urls):
            yield Wanted(certificate=leaf, issuer=known.issuer_of(leaf), at=served, revoked=served)
