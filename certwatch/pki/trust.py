"""Trust stores: named sets of trust anchors (RFC 5280, 6.1.1 d)."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from certwatch.model.certificate import Certificate, Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrustStore:
    name: str
    #: It is what the public internet trusts: the Web PKI's rules hold for what leads to it.
    public: bool = False
    #: Anchors by the DER of their subject.
    anchors: Mapping[bytes, tuple[Certificate, ...]]
    #: (subject DER, SPKI hash) of every anchor: a cross-signed twin of an anchor is trusted as the anchor is.
    keys: frozenset[tuple[bytes, bytes]]
    #: Anchors by their own DER.
    by_der: Mapping[bytes, Certificate]
    #: The same for the same anchors, whatever their order.
    digest: str

    @classmethod
    def from_certificates(
        cls, name: str, certificates: Iterable[Certificate], *, public: bool = False
    ) -> "TrustStore":
        """Certificates whose subject cannot be read anchor nothing and are left out."""
        anchors: dict[bytes, tuple[Certificate, ...]] = {}
        fingerprints: set[Fingerprint] = set()
        for certificate in certificates:
            if certificate.subject_der is None or certificate.fingerprint_sha256 in fingerprints:
                continue
            fingerprints.add(certificate.fingerprint_sha256)
            anchors[certificate.subject_der] = (*anchors.get(certificate.subject_der, ()), certificate)
        keys = frozenset(
            (subject, each.spki_sha256)
            for subject, same in anchors.items()
            for each in same
            if each.spki_sha256 is not None
        )
        digest = hashlib.sha256(b"".join(sorted(fingerprints))).hexdigest()
        by_der = {each.der: each for same in anchors.values() for each in same}
        return cls(name=name, public=public, anchors=anchors, keys=keys, by_der=by_der, digest=digest)

    def __contains__(self, certificate: Certificate) -> bool:
        """It is an anchor, or has an anchor's name and key."""
        return (certificate.subject_der, certificate.spki_sha256) in self.keys

    def issuers_of(self, certificate: Certificate) -> tuple[Certificate, ...]:
        """Anchors that have the issuer's name."""
        return () if certificate.issuer_der is None else self.anchors.get(certificate.issuer_der, ())
