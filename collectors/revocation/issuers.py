"""Issuers' certificates from where certificates say that they are (Authority Information Access, RFC 5280, 4.2.2.1)."""

from collections.abc import Iterator

from certwatch.doors.failure import LookFailed
from certwatch.model.certificate import Certificate
from certwatch.pki.signatures import signature
from certwatch.x509 import pem, pkcs7
from certwatch.x509.der import read

#: What is published there is one certificate, or a few.
MAX_BYTES = 1 << 20
MOST = 20


def published(url: str, body: bytes) -> list[Certificate]:
    """DER, certs-only PKCS#7 (both RFC 5280, 4.2.2.1), or PEM as some serve it. Raises LookFailed."""
    found = [read(der) for der in _certificates(body)][:MOST]
    if not found or all(each.subject_der is None for each in found):
        raise LookFailed("malformed", f"{url}: no certificate there")
    return found


def _certificates(body: bytes) -> Iterator[bytes]:
    if b"-----BEGIN" in body[:1024]:
        for block in pem.blocks(body):
            if block.data and "CERTIFICATE" in block.label:
                yield block.data
            elif block.data and block.label in ("PKCS7", "CMS"):
                yield from _of_message(block.data)
        return
    if pkcs7.looks_like(body):
        yield from _of_message(body)
        return
    yield body


def _of_message(data: bytes) -> Iterator[bytes]:
    for entry in pkcs7.read(data).entries:
        yield from entry.certificates


def issuer_among(certificate: Certificate, candidates: list[Certificate]) -> Certificate | None:
    """The one that has signed it. None: none has, or it cannot be told."""
    return next(
        (
            each
            for each in candidates
            if each.subject_der is not None
            and each.subject_der == certificate.issuer_der
            and signature(certificate, each) == "good"
        ),
        None,
    )
