"""A key in an encrypted file, for trials: whoever reads file and passphrase has the key."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils

from certwatch.ca.failure import CAError
from certwatch.ca.signer import HASHES, ForeignKey, KeyType, Mechanism, foreign_key

PrivateKey = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
)  # fmt: skip
MAX_BYTES = 64 * 1024
_DIGESTS = {32: HASHES["sha256"], 48: HASHES["sha384"], 64: HASHES["sha512"]}


_ML_DSA: dict[str, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]] = {
    "ml-dsa-44": mldsa.MLDSA44PrivateKey,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey,
}


def generate(key_type: KeyType) -> PrivateKey:
    if key_type == "ec-p256":
        return ec.generate_private_key(ec.SECP256R1())
    if key_type == "ec-p384":
        return ec.generate_private_key(ec.SECP384R1())
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if key_type.startswith("ml-dsa-"):
        return _ML_DSA[key_type].generate()
    return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa-")))


class FileSigner:
    def __init__(self, path: Path, private: PrivateKey) -> None:
        self.name = f"file:{path}"
        self._private = private

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        private = self._private
        if isinstance(private, ec.EllipticCurvePrivateKey):
            return private.sign(data, ec.ECDSA(utils.Prehashed(_DIGESTS[len(data)]())))
        if isinstance(private, rsa.RSAPrivateKey):
            return private.sign(data, padding.PKCS1v15(), HASHES[mechanism.removeprefix("rsa-")]())
        return private.sign(data)


def create(path: Path, key_type: KeyType, passphrase: bytes) -> ForeignKey:
    """Make a key and write it, encrypted (PKCS #8), mode 0600. Never over another file. Raises CAError."""
    private = generate(key_type)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    write_new(path, pem)
    return foreign_key(FileSigner(path, private), private.public_key())


def write_new(path: Path, data: bytes) -> None:
    """A secret's file, on disk when this returns. Raises CAError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CAError(
            "usage", f"{path}: is there already, and a key is never written over. Name another file"
        ) from error
    except OSError as error:
        raise CAError("other", f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CAError("full", f"{path}: cannot be written: {error.strerror}") from error


def load(path: Path, passphrase: bytes | None) -> ForeignKey:
    """Raises CAError: "pin" for a wrong passphrase, "token" for a file that cannot be read."""
    try:
        with path.open("rb") as opened:
            pem = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise CAError("token", f"{path}: the CA's key cannot be read: {error.strerror}") from error
    if len(pem) > MAX_BYTES:
        raise CAError("token", f"{path}: larger than {MAX_BYTES} bytes: not a key")
    try:
        private = serialization.load_pem_private_key(pem, passphrase)
    except TypeError as error:
        # Encrypted and no passphrase, or the other way round.
        if passphrase is None:
            raise CAError(
                "pin",
                f"{path}: needs its passphrase: set CERTWATCH_CA_PASSPHRASE, or key_passphrase_file in the config",
            ) from error
        raise CAError(
            "refused", f"{path}: is not encrypted. Encrypt it: openssl pkcs8 -topk8 -in KEY -out {path}"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CAError(
            "pin", f"{path}: the passphrase is wrong, or this is no encrypted key (PKCS #8)"
        ) from error
    if not isinstance(private, PrivateKey):
        raise CAError("token", f"{path}: keys of this kind do not sign certificates here")
    return foreign_key(FileSigner(path, private), private.public_key())
