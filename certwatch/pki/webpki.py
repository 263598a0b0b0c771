"""Path validation by cryptography's own verifier: the Web PKI's profile, stricter than OpenSSL. A second opinion."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.x509 import verification

from certwatch.pki.openssl import Purpose
from certwatch.pki.trust import TrustStore

#: What it says of things that it does not do at all, where its refusal says nothing about the chain: Ed25519 and other
#: keys, names of folders in name constraints.
_NOT_DONE = (
    "forbidden public key algorithm",
    "forbidden signature algorithm",
    "unsupported name constraint",
    "directoryName",
)


def refusal(
    leaf: bytes,
    untrusted: Sequence[bytes],
    trust: TrustStore,
    now: datetime,
    *,
    purpose: Purpose,
    host: str | None,
) -> str | None:
    """Why it does not accept the leaf, in its words. None: it accepts it, or cannot tell (a form that it does not
    do, no name to ask for, a certificate that it cannot load)."""
    store = _store(trust)
    try:
        certificate = x509.load_der_x509_certificate(leaf)
        others = [x509.load_der_x509_certificate(each) for each in untrusted]
        subject = None if host is None else _subject(host)
    except (ValueError, x509.InvalidVersion):
        return None
    if store is None or purpose == "any" or (purpose == "server" and subject is None):
        return None
    builder = verification.PolicyBuilder().store(store).time(now)
    try:
        if purpose == "client":
            builder.build_client_verifier().verify(certificate, others)
        else:
            assert subject is not None  # noqa: S101 - asked above
            builder.build_server_verifier(subject).verify(certificate, others)
    except verification.VerificationError as error:
        text = str(error)
        return None if any(each.lower() in text.lower() for each in _NOT_DONE) else text
    except ValueError:
        return None
    return None


def _subject(host: str) -> verification.Subject:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@lru_cache(maxsize=64)
def _store(trust: TrustStore) -> verification.Store | None:
    """Without the anchors that it cannot load. None: none is left."""
    anchors = []
    for same in trust.anchors.values():
        for anchor in same:
            try:
                anchors.append(x509.load_der_x509_certificate(anchor.der))
            except (ValueError, x509.InvalidVersion):
                continue
    return verification.Store(anchors) if anchors else None
