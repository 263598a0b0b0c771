"""OCSP: what to ask, and whether an answer may be believed (RFC 6960, 3.2 and 4.2.2.2)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwatch.x509.tlv import Unreadable, children, expect

#: Clocks differ so much (RFC 5019, 4 allows responders to be ahead).
SKEW = timedelta(minutes=5)

OCSPFault = Literal[
    "malformed",  # no OCSP answer
    "unsuccessful",  # the responder says that it could not, or would not
    "other-certificate",  # an answer to another question
    "signer",  # nobody who may sign for this issuer signed it
    "delegate",  # signed by a delegate without the right usage, or outside its validity
    "signature",  # it does not verify
    "nonce",  # another nonce than was sent
    "early",  # thisUpdate in the future
    "stale",  # nextUpdate in the past
]

_STATUS = {
    ocsp.OCSPCertStatus.GOOD: "good",
    ocsp.OCSPCertStatus.REVOKED: "revoked",
    ocsp.OCSPCertStatus.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OCSPAnswer:
    """What a response says, as far as it could be read; believe `status` only where `fault` is None."""

    status: Literal["good", "revoked", "unknown"] | None
    fault: OCSPFault | None
    #: For an operator, where there is a fault.
    text: str = ""
    produced_at: datetime | None = None
    this_update: datetime | None = None
    #: None: newer information is there at any time (RFC 6960, 4.2.2.1).
    next_update: datetime | None = None
    revoked_at: datetime | None = None
    #: CRLReason by RFC 5280 name. None: none is given.
    reason: str | None = None
    #: Certificate of the delegate that signed, DER. None: the issuer itself did.
    delegate: bytes | None = None


def request(certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes | None = None) -> bytes:
    """DER. The certificate is named by SHA-1 hashes of its issuer: responders keep their answers by these (RFC 5019,
    2.1.1). A nonce makes most of them answer worse, since those are made beforehand."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(serialization.Encoding.DER)


def check(
    response: bytes,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    now: datetime,
    *,
    nonce: bytes | None = None,
) -> OCSPAnswer:
    """`issuer` has already been found to have issued the certificate. Raises nothing."""
    try:
        return _check(response, certificate, issuer, now, nonce)
    except (ValueError, TypeError, UnsupportedAlgorithm, Unreadable, x509.InvalidVersion) as error:
        return OCSPAnswer(status=None, fault="malformed", text=f"cannot be read: {str(error)[:200]}")


def _check(
    response: bytes,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    now: datetime,
    nonce: bytes | None,
) -> OCSPAnswer:
    loaded = ocsp.load_der_ocsp_response(response)
    if loaded.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        name = loaded.response_status.name.lower().replace("_", " ")
        return OCSPAnswer(status=None, fault="unsuccessful", text=f"the responder says: {name}")
    single = next((each for each in loaded.responses if _is_about(each, certificate, issuer)), None)
    if single is None:
        return OCSPAnswer(
            status=None, fault="other-certificate", text="the answer is about another certificate"
        )
    revoked = single.certificate_status is ocsp.OCSPCertStatus.REVOKED
    signer, fault, text = _signer(loaded, issuer, now)
    if fault is None:
        fault, text = _in_force(single, now)
    if fault is None and nonce is not None:
        sent_back = _nonce(loaded)
        # Answers made beforehand have none; one that is there must be ours (RFC 9654, 2.1).
        if sent_back is not None and sent_back != nonce:
            fault, text = "nonce", "the answer carries another nonce than was sent: a replay"
    return OCSPAnswer(
        status=_STATUS[single.certificate_status],  # type: ignore[arg-type] # its three values
        fault=fault,
        text=text,
        produced_at=loaded.produced_at_utc,
        this_update=single.this_update_utc,
        next_update=single.next_update_utc,
        revoked_at=single.revocation_time_utc if revoked else None,
        reason=single.revocation_reason.value if revoked and single.revocation_reason else None,
        delegate=None
        if signer is None or signer == issuer
        else signer.public_bytes(serialization.Encoding.DER),
    )


def _is_about(
    single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    """By the hash that the response chose (4.1.1), over the issuer's name as the certificate has it."""
    if single.serial_number != certificate.serial_number:
        return False
    algorithm = single.hash_algorithm.name
    return (
        hashlib.new(algorithm, certificate.issuer.public_bytes()).digest() == single.issuer_name_hash
        and hashlib.new(algorithm, _key_bits(issuer)).digest() == single.issuer_key_hash
    )


def _key_bits(certificate: x509.Certificate) -> bytes:
    """The value of subjectPublicKey, without tag, length and unused bits (RFC 6960, 4.1.1)."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return children(expect(spki, 0x30, "a public key"))[-1][1][1:]


def _signer(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime
) -> tuple[x509.Certificate | None, OCSPFault | None, str]:
    """Who signed it, and why that one must not have."""
    named = [each for each in (issuer, *response.certificates) if _is_named(each, response)]
    if not named:
        return None, "signer", "it names a signer that is neither the issuer nor sent along"
    for signer in named:
        if not _verifies(signer, response):
            continue
        if signer.public_key() == issuer.public_key() and signer.subject == issuer.subject:
            return issuer, None, ""
        try:
            signer.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError):
            return (
                signer,
                "signer",
                f"{signer.subject.rfc4514_string()} signed it, whom the issuer did not appoint",
            )
        if not _may_sign(signer):
            return signer, "delegate", f"{signer.subject.rfc4514_string()} lacks the usage OCSPSigning"
        if not signer.not_valid_before_utc <= now <= signer.not_valid_after_utc:
            ended = signer.not_valid_after_utc.isoformat(timespec="seconds")
            return (
                signer,
                "delegate",
                f"{signer.subject.rfc4514_string()}, who signed it, is valid until {ended}",
            )
        return signer, None, ""
    return None, "signature", "its signature does not verify"


def _is_named(certificate: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    if response.responder_name is not None:
        return certificate.subject == response.responder_name
    return hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest() == response.responder_key_hash


def _may_sign(delegate: x509.Certificate) -> bool:
    try:
        usages = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usages


def _verifies(signer: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    key, digest = signer.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            pss = response.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.10"
            pad: padding.PKCS1v15 | padding.PSS = padding.PKCS1v15()
            if pss:
                pad = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.AUTO)
            key.verify(signature, signed, pad, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _in_force(single: ocsp.OCSPSingleResponse, now: datetime) -> tuple[OCSPFault | None, str]:
    if single.this_update_utc > now + SKEW:
        return (
            "early",
            f"it is of {single.this_update_utc.isoformat()}, which is in the future: check the clocks",
        )
    if single.next_update_utc is not None and single.next_update_utc < now:
        return "stale", f"it was to be renewed by {single.next_update_utc.isoformat()}"
    return None, ""


def _nonce(response: ocsp.OCSPResponse) -> bytes | None:
    try:
        return response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
