"""Keys that sign somewhere else, in the shape that cryptography's builders take.

`register` instead of subclassing: a new abstract method in cryptography would break subclasses. Builders do not check
signatures, so each one is verified here before anybody sees it.
"""

import hashlib
from functools import lru_cache
from typing import Any, Literal, Protocol, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils

from certwatch.ca.failure import CAError

#: "ecdsa" takes a digest and answers DER; the others take the whole message.
Mechanism = Literal["ecdsa", "rsa-sha256", "rsa-sha384", "rsa-sha512", "eddsa", "ml-dsa"]
MLDSAPublicKey = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | MLDSAPublicKey
KeyType = Literal[
    "ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"
]
KEY_TYPES: tuple[KeyType, ...] = (
    "ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87",
)  # fmt: skip

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


class Signer(Protocol):
    """May be called from several threads. Raises CAError "token" or "pin"; never answers half a signature."""

    #: For metrics and the ledger.
    name: str

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes: ...


def _digest(data: bytes, algorithm: Any) -> tuple[bytes, ec.ECDSA]:
    """What is signed, and by what it is verified."""
    if isinstance(algorithm, utils.Prehashed):
        return data, ec.ECDSA(algorithm)
    return hashlib.new(algorithm.name, data).digest(), _prehashed(algorithm.name)


@lru_cache(8)
def _prehashed(name: str) -> ec.ECDSA:
    return ec.ECDSA(utils.Prehashed(HASHES[name]()))


class _Foreign:
    def __init__(self, signer: Signer, public: PublicKey) -> None:
        self.signer = signer
        self._public = public

    def public_key(self) -> Any:
        return self._public

    def private_bytes(self, *args: object, **kwargs: object) -> bytes:
        raise CAError("refused", f"{self.signer.name}: the key does not leave its place")

    private_bytes_raw = private_numbers = private_bytes

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def _lied(self, error: InvalidSignature) -> CAError:
        return CAError(
            "token",
            f"{self.signer.name}: what it signed does not verify by its public key. Nothing was released;"
            " take this token out of use",
        )


class ECKey(_Foreign):
    @property
    def curve(self) -> ec.EllipticCurve:
        return cast("ec.EllipticCurvePublicKey", self._public).curve

    @property
    def key_size(self) -> int:
        return self.curve.key_size

    def sign(self, data: bytes, signature_algorithm: ec.ECDSA) -> bytes:
        digest, algorithm = _digest(data, signature_algorithm.algorithm)
        signature = self.signer.sign("ecdsa", digest)
        public = cast("ec.EllipticCurvePublicKey", self._public)
        try:
            public.verify(signature, digest, algorithm)
        except InvalidSignature as error:
            raise self._lied(error) from error
        return signature


class RSAKey(_Foreign):
    @property
    def key_size(self) -> int:
        return cast("rsa.RSAPublicKey", self._public).key_size

    def sign(self, data: bytes, padding: Any, algorithm: Any) -> bytes:
        if not _is_pkcs1(padding):
            raise CAError("usage", "RSA keys of the CA sign with PKCS #1 v1.5")
        mechanism = cast("Mechanism", f"rsa-{algorithm.name}")
        signature = self.signer.sign(mechanism, data)
        try:
            cast("rsa.RSAPublicKey", self._public).verify(signature, data, padding, algorithm)
        except InvalidSignature as error:
            raise self._lied(error) from error
        return signature


class EdKey(_Foreign):
    def sign(self, data: bytes) -> bytes:
        signature = self.signer.sign("eddsa", data)
        try:
            cast("ed25519.Ed25519PublicKey", self._public).verify(signature, data)
        except InvalidSignature as error:
            raise self._lied(error) from error
        return signature


class _MLDSAKey(_Foreign):
    """FIPS 204; in certificates without a context (RFC 9881, 3). The builders tell the three apart by their classes."""

    def sign(self, data: bytes, context: bytes | None = None) -> bytes:
        if context:
            raise CAError("usage", "ML-DSA keys of the CA sign without a context")
        signature = self.signer.sign("ml-dsa", data)
        try:
            cast("MLDSAPublicKey", self._public).verify(signature, data)
        except InvalidSignature as error:
            raise self._lied(error) from error
        return signature


class MLDSA44Key(_MLDSAKey):
    pass


class MLDSA65Key(_MLDSAKey):
    pass


class MLDSA87Key(_MLDSAKey):
    pass


def _is_pkcs1(value: object) -> bool:
    return isinstance(value, padding.PKCS1v15)


ec.EllipticCurvePrivateKey.register(ECKey)
rsa.RSAPrivateKey.register(RSAKey)
ed25519.Ed25519PrivateKey.register(EdKey)
mldsa.MLDSA44PrivateKey.register(MLDSA44Key)
mldsa.MLDSA65PrivateKey.register(MLDSA65Key)
mldsa.MLDSA87PrivateKey.register(MLDSA87Key)

ForeignKey = ECKey | RSAKey | EdKey | MLDSA44Key | MLDSA65Key | MLDSA87Key


def foreign_key(signer: Signer, public: PublicKey) -> ForeignKey:
    if isinstance(public, ec.EllipticCurvePublicKey):
        return ECKey(signer, public)
    if isinstance(public, rsa.RSAPublicKey):
        return RSAKey(signer, public)
    if isinstance(public, mldsa.MLDSA44PublicKey):
        return MLDSA44Key(signer, public)
    if isinstance(public, mldsa.MLDSA65PublicKey):
        return MLDSA65Key(signer, public)
    if isinstance(public, mldsa.MLDSA87PublicKey):
        return MLDSA87Key(signer, public)
    return EdKey(signer, public)


def hash_for(public: object) -> hashes.SHA256 | hashes.SHA384 | None:
    """What a key of this kind signs with. None: the algorithm has its own (Ed25519, ML-DSA)."""
    if isinstance(public, (ed25519.Ed25519PublicKey, MLDSAPublicKey)):
        return None
    if isinstance(public, ec.EllipticCurvePublicKey) and public.key_size >= 384:
        return hashes.SHA384()
    return hashes.SHA256()


#: Well-formed and worth nothing: r = s = 1.
_NO_ECDSA = utils.encode_dss_signature(1, 1)


class _Rehearsal:
    """Signs nothing: shows what would be signed."""

    name = "rehearsal"

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        # Its keys do not ask: each knows the form of a signature by itself.
        raise CAError("refused", "a rehearsal signs nothing")


class _RehearsalEC(ECKey):
    def sign(self, data: bytes, signature_algorithm: ec.ECDSA) -> bytes:
        return _NO_ECDSA


class _RehearsalRSA(RSAKey):
    def sign(self, data: bytes, padding: Any, algorithm: Any) -> bytes:
        return bytes(self.key_size // 8)


class _RehearsalEd(EdKey):
    def sign(self, data: bytes) -> bytes:
        return bytes(64)


class _RehearsalMLDSA44(MLDSA44Key):
    def sign(self, data: bytes, context: bytes | None = None) -> bytes:
        return bytes(2420)


class _RehearsalMLDSA65(MLDSA65Key):
    def sign(self, data: bytes, context: bytes | None = None) -> bytes:
        return bytes(3309)


class _RehearsalMLDSA87(MLDSA87Key):
    def sign(self, data: bytes, context: bytes | None = None) -> bytes:
        return bytes(4627)


ec.EllipticCurvePrivateKey.register(_RehearsalEC)
rsa.RSAPrivateKey.register(_RehearsalRSA)
ed25519.Ed25519PrivateKey.register(_RehearsalEd)


def rehearsal_key(public: PublicKey) -> Any:
    """For a builder: makes the same bytes to be signed as the real key would, with a signature that fits and means
    nothing."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _RehearsalEC(_Rehearsal(), public)
    if isinstance(public, rsa.RSAPublicKey):
        return _RehearsalRSA(_Rehearsal(), public)
    if isinstance(public, mldsa.MLDSA44PublicKey):
        return _RehearsalMLDSA44(_Rehearsal(), public)
    if isinstance(public, mldsa.MLDSA65PublicKey):
        return _RehearsalMLDSA65(_Rehearsal(), public)
    if isinstance(public, mldsa.MLDSA87PublicKey):
        return _RehearsalMLDSA87(_Rehearsal(), public)
    return _RehearsalEd(_Rehearsal(), public)
