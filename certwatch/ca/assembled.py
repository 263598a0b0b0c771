"""What was drafted and written down, with a signature: the very bytes, not built a second time.

`cryptography` builds and signs in one step and cannot put a signature to bytes that are there. Building twice costs a third of
issuance, and says by comparison alone that what is signed is what the ledger has. So three lines of DER stand here (RFC 5280, 4.1),
and the library reads the result: any slip in them is a certificate that does not parse or does not hold these bytes."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.failure import CAError
from certwatch.ca.signer import ForeignKey, hash_for
from certwatch.x509.tlv import encode, header

_SEQUENCE, _BIT_STRING = 0x30, 0x03


def signature_over(tbs: bytes, key: ForeignKey) -> bytes:
    """As the builders ask the key for it. Raises CAError."""
    public = key.public_key()
    algorithm = hash_for(public)
    if isinstance(public, ec.EllipticCurvePublicKey):
        return key.sign(tbs, ec.ECDSA(algorithm))  # type: ignore[call-arg, arg-type]
    if isinstance(public, rsa.RSAPublicKey):
        return key.sign(tbs, padding.PKCS1v15(), algorithm)  # type: ignore[call-arg, arg-type]
    return key.sign(tbs)  # type: ignore[call-arg]


def signed(empty: bytes, before: bytes, tbs: bytes, signature: bytes) -> bytes:
    """DER of `tbs` and its signature. `empty`: as the library writes it with another signature over `before`: the algorithm is
    taken from it, which stands between the two."""
    _, start, end = header(empty, empty.index(before) + len(before), len(empty))
    algorithm = encode(_SEQUENCE, empty[start:end])
    return encode(_SEQUENCE, b"".join((tbs, algorithm, encode(_BIT_STRING, b"\0" + signature))))


def assembled(rehearsed: x509.Certificate, tbs: bytes, signature: bytes) -> tuple[x509.Certificate, bytes]:
    """`rehearsed` with the real signature in place of its own: the certificate, and its DER. Raises CAError."""
    der = signed(rehearsed.public_bytes(Encoding.DER), tbs, tbs, signature)
    try:
        made = x509.load_der_x509_certificate(der)
        if made.tbs_certificate_bytes == tbs and made.signature == signature:
            return made, der
    except ValueError:
        pass
    raise CAError("other", "what was signed is not what was written down before. Nothing was released")
