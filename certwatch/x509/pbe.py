"""Decryption by passphrase: PKCS#12's own schemes (RFC 7292, B and C) and those of PKCS#5 (RFC 8018).

How much work a file may ask for is decided before the work is done: a count of iterations is data from outside, and
2³¹ of them are a denial of service. Nothing here is authenticated: a wrong passphrase is known by what comes out.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from certwatch.x509.ber import OCTETS, SEQUENCE, Element, integer, octets, oid, parts
from certwatch.x509.rc2 import decrypt_cbc
from certwatch.x509.tlv import Unreadable

#: Iterations that one file may cost in all, over every key, MAC and passphrase: seconds. Programs write 1,000 to
#: 600,000.
MAX_ITERATIONS = 10_000_000
#: What scrypt may take: N times r times 128 bytes. OpenSSL's own limit too.
_MAX_SCRYPT_MEMORY = 32 << 20
#: RC2 is decrypted in Python, some 20 µs a block of 8 bytes; certificate bags have a few KiB.
_MAX_RC2_BYTES = 512 << 10

Kind = Literal["passphrase", "unsupported", "too-much-work"]
#: A passphrase, or None: none at all, which PKCS#12 tells apart from the empty one.
Passphrase = str | None
Decrypt = Callable[[bytes], bytes]


class Undecryptable(Exception):
    """Not decrypted. passphrase: it is another one (or the data is damaged: that cannot be told apart)."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class Work:
    """What a file may still cost. Owned by the one who reads that file."""

    iterations: int = MAX_ITERATIONS

    def spend(self, iterations: int, times: int = 1) -> None:
        """Before the work is done. Raises Undecryptable: the file asks for too much."""
        if iterations < 1:
            raise Unreadable(f"{iterations} iterations")
        if iterations * times > self.iterations:
            raise Undecryptable(
                "too-much-work",
                f"asks for {iterations} iterations: no more than {MAX_ITERATIONS} are done for one file",
            )
        self.iterations -= iterations * times


def decrypt(algorithm: Element, ciphertext: bytes, passphrase: Passphrase, work: Work) -> bytes:
    """What was encrypted under an AlgorithmIdentifier. Raises Undecryptable, and Unreadable for its parameters."""
    inner = parts(algorithm.expect(SEQUENCE, "an AlgorithmIdentifier"), 1, "an AlgorithmIdentifier")
    name = oid(inner[0])
    if name == _PBES2:
        return _pbes2(_parameters(inner), ciphertext, passphrase, work)
    salt, iterations = _salt_and_iterations(_parameters(inner))
    if name in _PKCS12_SCHEMES:
        key_size, iv_size, cipher = _PKCS12_SCHEMES[name]
        word = bmp(passphrase)
        key = pkcs12_key(word, salt, iterations, 1, key_size, "sha1", work)
        iv = pkcs12_key(word, salt, iterations, 2, iv_size, "sha1", work)
        return cipher(key, iv, ciphertext)
    if name in _PBES1_SCHEMES:
        hash_name, cipher = _PBES1_SCHEMES[name]
        derived = _pbkdf1(_utf8(passphrase), salt, iterations, hash_name, work)
        return cipher(derived[:8], derived[8:16], ciphertext)
    raise Undecryptable("unsupported", f"is encrypted by {name}, which is not supported")


def decrypt_private_key(encrypted: Element, passphrase: Passphrase, work: Work) -> bytes:
    """PKCS#8 DER inside an EncryptedPrivateKeyInfo (RFC 5208, 6). Raises as `decrypt` does."""
    inner = parts(encrypted.expect(SEQUENCE, "a SEQUENCE"), 2, "EncryptedPrivateKeyInfo")
    return decrypt(inner[0], octets(inner[1]), passphrase, work)


def pkcs12_key(
    word: bytes, salt: bytes, iterations: int, purpose: int, length: int, hash_name: str, work: Work
) -> bytes:
    """RFC 7292, B.2. `word` is BMPString with its terminator, or empty for no passphrase. `purpose`: 1 key, 2 IV,
    3 MAC."""
    digest_size = hashlib.new(hash_name, usedforsecurity=False).digest_size
    block = 128 if digest_size > 32 else 64
    blocks = -(-length // digest_size)
    work.spend(iterations, blocks)
    diversifier = bytes([purpose]) * block
    stretched = _stretch(salt, block) + _stretch(word, block)
    result = b""
    for _ in range(blocks):
        digest = diversifier + stretched
        for _ in range(iterations):
            digest = hashlib.new(hash_name, digest, usedforsecurity=False).digest()
        result += digest
        addend = int.from_bytes(_stretch(digest, block), "big") + 1
        stretched = b"".join(
            (int.from_bytes(stretched[at : at + block], "big") + addend).to_bytes(block + 1, "big")[1:]
            for at in range(0, len(stretched), block)
        )
    return result[:length]


def pbkdf2(parameters: Element, passphrase: Passphrase, length: int, work: Work) -> bytes:
    """PBKDF2-params (RFC 8018, A.2)."""
    inner = parts(parameters.expect(SEQUENCE, "PBKDF2 parameters"), 2, "PBKDF2 parameters")
    salt, iterations = octets(inner[0].expect(OCTETS, "a salt")), integer(inner[1])
    hash_name = "sha1"
    for each in inner[2:]:
        if each.tag == SEQUENCE:
            name = oid(parts(each, 1, "a PRF")[0])
            if name not in PRFS:
                raise Undecryptable("unsupported", f"derives its key by {name}, which is not supported")
            hash_name = PRFS[name]
    blocks = -(-length // hashlib.new(hash_name, usedforsecurity=False).digest_size)
    work.spend(iterations, blocks)
    return hashlib.pbkdf2_hmac(hash_name, _utf8(passphrase), salt, iterations, length)


def _pbes2(parameters: Element, ciphertext: bytes, passphrase: Passphrase, work: Work) -> bytes:
    derivation, encryption = (
        parts(each.expect(SEQUENCE, "an AlgorithmIdentifier"), 2, "an AlgorithmIdentifier")
        for each in parts(parameters.expect(SEQUENCE, "PBES2 parameters"), 2, "PBES2 parameters")[:2]
    )
    name = oid(encryption[0])
    if name not in _PBES2_CIPHERS:
        raise Undecryptable("unsupported", f"is encrypted by {name}, which is not supported")
    key_size, cipher = _PBES2_CIPHERS[name]
    iv = octets(encryption[1].expect(OCTETS, "an IV"))
    if oid(derivation[0]) == _PBKDF2:
        key = pbkdf2(derivation[1], passphrase, key_size, work)
    elif oid(derivation[0]) == _SCRYPT:
        key = _scrypt(derivation[1], passphrase, key_size, work)
    else:
        raise Undecryptable("unsupported", f"derives its key by {oid(derivation[0])}, which is not supported")
    return cipher(key, iv, ciphertext)


def _scrypt(parameters: Element, passphrase: Passphrase, length: int, work: Work) -> bytes:
    """scrypt-params (RFC 7914, 7)."""
    inner = parts(parameters.expect(SEQUENCE, "scrypt parameters"), 4, "scrypt parameters")
    salt = octets(inner[0].expect(OCTETS, "a salt"))
    cost, block, parallel = (integer(each) for each in inner[1:4])
    if min(cost, block, parallel) < 1 or cost & (cost - 1) or cost == 1:
        raise Unreadable("scrypt parameters that no scrypt takes")
    if cost * block * 128 > _MAX_SCRYPT_MEMORY:
        raise Undecryptable("too-much-work", f"asks scrypt for {cost * block * 128 >> 20} MiB")
    # Each block mixed costs about as much as two dozen iterations of PBKDF2: counted as one in the same purse.
    work.spend(cost, 2 * block * parallel)
    try:
        return hashlib.scrypt(
            _utf8(passphrase),
            salt=salt,
            n=cost,
            r=block,
            p=parallel,
            dklen=length,
            maxmem=2 * _MAX_SCRYPT_MEMORY,
        )
    except ValueError as error:
        raise Unreadable("scrypt parameters that no scrypt takes") from error


def _pbkdf1(word: bytes, salt: bytes, iterations: int, hash_name: str, work: Work) -> bytes:
    """RFC 8018, 5.1."""
    work.spend(iterations)
    digest = word + salt
    for _ in range(iterations):
        digest = hashlib.new(hash_name, digest, usedforsecurity=False).digest()
    return digest


def _parameters(inner: list[Element]) -> Element:
    if len(inner) < 2:
        raise Unreadable("an encryption without parameters")
    return inner[1]


def _salt_and_iterations(parameters: Element) -> tuple[bytes, int]:
    inner = parts(parameters.expect(SEQUENCE, "PBE parameters"), 2, "PBE parameters")
    return octets(inner[0].expect(OCTETS, "a salt")), integer(inner[1])


def _stretch(data: bytes, block: int) -> bytes:
    """Repeated up to whole blocks; nothing stays nothing (RFC 7292, B.2, 2 and 3)."""
    size = -(-len(data) // block) * block
    return (data * (size // len(data) + 1))[:size] if data else b""


def bmp(passphrase: Passphrase) -> bytes:
    """RFC 7292, B.1: UTF-16 with a terminator; no passphrase at all is no bytes."""
    return b"" if passphrase is None else passphrase.encode("utf-16-be", "surrogatepass") + b"\0\0"


def _utf8(passphrase: Passphrase) -> bytes:
    return (passphrase or "").encode("utf-8", "surrogatepass")


def triple_des(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """CBC with the padding of PKCS#7, as all here. Two keys (16 bytes) are K1 K2 K1, one (8 bytes) is plain DES."""
    return _cbc(TripleDES((key * 3)[:24]), iv, ciphertext)


def _aes(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    return _cbc(AES(key), iv, ciphertext)


def _rc2(effective_bits: int) -> Callable[[bytes, bytes, bytes], bytes]:
    def cipher(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
        if len(ciphertext) > _MAX_RC2_BYTES:
            raise Undecryptable("too-much-work", f"has {len(ciphertext)} bytes under RC2")
        return _unpad(decrypt_cbc(key, effective_bits, iv, ciphertext))

    return cipher


def _cbc(algorithm: BlockCipherAlgorithm, iv: bytes, ciphertext: bytes) -> bytes:
    size = algorithm.block_size // 8
    if len(iv) != size or len(ciphertext) % size or not ciphertext:
        raise Unreadable("encrypted data that is not of whole blocks")
    decryptor = Cipher(algorithm, modes.CBC(iv)).decryptor()
    return _unpad(decryptor.update(ciphertext) + decryptor.finalize())


def _unpad(plain: bytes) -> bytes:
    count = plain[-1] if plain else 0
    if not 0 < count <= 16 or plain[-count:] != bytes([count]) * count:
        raise Undecryptable("passphrase", "does not open with this passphrase")
    return plain[:-count]


_PBES2, _PBKDF2, _SCRYPT = "1.2.840.113549.1.5.13", "1.2.840.113549.1.5.12", "1.3.6.1.4.1.11591.4.11"
#: Key size, IV size, cipher (RFC 7292, C). RC4, never the default of any program, is left out.
_PKCS12_SCHEMES = {
    "1.2.840.113549.1.12.1.3": (24, 8, triple_des),
    "1.2.840.113549.1.12.1.4": (16, 8, triple_des),
    "1.2.840.113549.1.12.1.5": (16, 8, _rc2(128)),
    "1.2.840.113549.1.12.1.6": (5, 8, _rc2(40)),
}
#: RFC 8018, A.3.
_PBES1_SCHEMES = {
    "1.2.840.113549.1.5.3": ("md5", triple_des),
    "1.2.840.113549.1.5.6": ("md5", _rc2(64)),
    "1.2.840.113549.1.5.10": ("sha1", triple_des),
    "1.2.840.113549.1.5.11": ("sha1", _rc2(64)),
}
_PBES2_CIPHERS = {
    "2.16.840.1.101.3.4.1.2": (16, _aes),
    "2.16.840.1.101.3.4.1.22": (24, _aes),
    "2.16.840.1.101.3.4.1.42": (32, _aes),
    "1.2.840.113549.3.7": (24, triple_des),
    "1.3.14.3.2.7": (8, triple_des),
}
#: HMACs (RFC 8018, B.1.2) by the name that hashlib knows.
PRFS = {
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.8": "sha224",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
#: Digests of a MAC, by the name that hashlib knows.
DIGESTS = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
}
