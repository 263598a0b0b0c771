"""OCSP requests read and answers made (RFC 6960, RFC 5019; nonces: RFC 9654). Pure but for the signature."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp

from certwatch.ca.crl_entries import REASONS
from certwatch.ca.signer import hash_for

#: A request for one certificate has about 120 bytes; more is no request.
MAX_REQUEST_BYTES = 2048
#: RFC 9654, 2.1: shorter ones may be passed over, none and longer ones are malformed.
LEAST_NONCE, MOST_NONCE = 16, 128

ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    each.name: each
    for each in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())  # noqa: S303 - names an issuer, protects nothing (RFC 5019, 2.1.1)
}


class Malformed(Exception):
    """Not one OCSP request for one certificate."""


@dataclass(frozen=True, slots=True)
class CertID:
    """What a request asks of: an issuer by two hashes, and a serial number."""

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: int


@dataclass(frozen=True, slots=True)
class Asked:
    of: CertID
    #: As it is to be given back. None: none, or one too short to be heeded.
    nonce: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of a certificate. Neither revoked nor known: "unknown"."""

    known: bool
    revoked: datetime | None = None
    reason: str | None = None

    @property
    def word(self) -> str:
        return "unknown" if not self.known else "good" if self.revoked is None else "revoked"


def read(der: bytes) -> Asked:
    """Raises Malformed. Requests for several certificates are malformed here: see docs/ca.md."""
    if len(der) > MAX_REQUEST_BYTES:
        raise Malformed
    try:
        request = ocsp.load_der_ocsp_request(der)
        of = CertID(
            request.hash_algorithm.name,
            request.issuer_name_hash,
            request.issuer_key_hash,
            request.serial_number,
        )
        nonce = None
        for extension in request.extensions:
            if isinstance(extension.value, x509.OCSPNonce):
                nonce = extension.value.nonce
            elif extension.critical:
                raise Malformed
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        NotImplementedError,
        x509.DuplicateExtension,
    ) as error:
        raise Malformed from error
    if nonce is not None and not 0 < len(nonce) <= MOST_NONCE:
        raise Malformed
    if of.serial.bit_length() > 160:
        raise Malformed
    return Asked(of, nonce if nonce is not None and len(nonce) >= LEAST_NONCE else None)


def hashes_of(certificate: x509.Certificate, algorithm: str) -> tuple[bytes, bytes]:
    """Of an issuer: its name's and its key's (RFC 6960, 4.1.1)."""
    name = hashes.Hash(ALGORITHMS[algorithm])
    name.update(certificate.subject.public_bytes())
    key = hashes.Hash(ALGORITHMS[algorithm])
    key.update(_bits(certificate.public_key()))
    return name.finalize(), key.finalize()


def _bits(public: Any) -> bytes:
    """What stands in the BIT STRING of its SubjectPublicKeyInfo."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    elif isinstance(public, rsa.RSAPublicKey):
        form = serialization.Encoding.DER, serialization.PublicFormat.PKCS1
    else:
        form = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    return bytes(public.public_bytes(*form))


def make(
    of: CertID,
    status: Status,
    delegate: x509.Certificate,
    *,
    now: datetime,
    lifetime: timedelta,
    nonce: bytes | None,
    sign: Callable[[Callable[[Any], Any]], Any],
) -> tuple[bytes, datetime]:
    """Answer, DER, and when it ends. `sign` has a function called with the delegate's key."""
    begin = now.replace(microsecond=0)
    until = min(begin + lifetime, delegate.not_valid_after_utc)
    word = {
        "good": ocsp.OCSPCertStatus.GOOD,
        "revoked": ocsp.OCSPCertStatus.REVOKED,
        "unknown": ocsp.OCSPCertStatus.UNKNOWN,
    }[status.word]
    reason = None
    if status.revoked is not None and status.reason not in (None, "unspecified"):
        reason = REASONS[str(status.reason)]
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            of.name_hash,
            of.key_hash,
            of.serial,
            ALGORITHMS[of.algorithm],
            word,
            begin.replace(tzinfo=None),
            until.replace(tzinfo=None),
            status.revoked.replace(tzinfo=None, microsecond=0) if status.revoked is not None else None,
            reason,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, delegate)
        .certificates([delegate])
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    algorithm = hash_for(delegate.public_key())
    response = sign(lambda key: builder.sign(key, algorithm))
    return response.public_bytes(serialization.Encoding.DER), until


def unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    """An answer without a signature: it says nothing of a certificate."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(serialization.Encoding.DER)
