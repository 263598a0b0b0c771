"""Was this certificate signed by that key? Remembered, since the same chains are judged again and again."""

from functools import lru_cache
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from certwatch.model.certificate import Certificate

#: good and bad are certain. unsupported: this library cannot tell, which is not the same as bad.
Signature = Literal["good", "bad", "unsupported"]


def signature(certificate: Certificate, issuer: Certificate) -> Signature:
    """Names must already match: only the signature is looked at (RFC 5280, 6.1.3 a 1)."""
    return VERDICTS.of(certificate, issuer)


class Verdicts:
    """Verdicts by fingerprints: the certificates themselves are not kept. In two generations, so that the
    oldest go at once and nothing has to be looked through: threads may race, and find the same."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._young: dict[bytes, Signature] = {}
        self._old: dict[bytes, Signature] = {}

    def of(self, certificate: Certificate, issuer: Certificate) -> Signature:
        key = certificate.fingerprint_sha256 + issuer.fingerprint_sha256
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key) or _verify(certificate.der, issuer.der)
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
            self._young[key] = found
        return found

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def clear(self) -> None:
        self._young, self._old = {}, {}


#: A quarter of a million, in some 50 MB: when the rules change, all of these are judged again.
VERDICTS = Verdicts(1 << 18)


@lru_cache(maxsize=1024)
def _issuer(der: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePublicKey | None]:
    """Issuers come again and again; leaves do not. A key on a curve is read once: that is a fifth of a verification."""
    issuer = x509.load_der_x509_certificate(der)
    try:
        key = issuer.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    return issuer, key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _verify(der: bytes, issuer_der: bytes) -> Signature:
    try:
        certificate = x509.load_der_x509_certificate(der)
        issuer, key = _issuer(issuer_der)
        scheme = certificate.signature_algorithm_parameters if key is not None else None
        if key is not None and isinstance(scheme, ec.ECDSA) and certificate.issuer == issuer.subject:
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, scheme)
        else:
            certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return "bad"
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError, x509.InvalidVersion):
        # A certificate that it does not load, an algorithm that it does not know.
        return "unsupported"
    return "good"
