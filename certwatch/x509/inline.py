"""PEM that other files carry inside them: certificates, and whether a key is that of the leaf."""

from collections.abc import Sequence
from dataclasses import dataclass

from certwatch.x509 import ber, der, pem, private_keys
from certwatch.x509.pbe import Undecryptable, Work, decrypt_private_key
from certwatch.x509.tlv import Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    #: Each certificate's DER, in order.
    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    #: Each sentence one damaged block.
    problems: tuple[str, ...] = ()


def read(data: bytes) -> Inline:
    """PEM, or one certificate in DER. Never raises."""
    if data[:1] == b"\x30":
        return Inline(certificates=(data,))
    found = list(pem.blocks(data))
    return Inline(
        certificates=tuple(block.data for block in found if block.is_certificate and block.problem is None),
        crls=tuple(block.data for block in found if block.label == "X509 CRL" and block.problem is None),
        problems=tuple(block.problem for block in found if block.problem is not None),
    )


def key_match(
    data: bytes, leaf: bytes, passphrases: Sequence[str] = (), work: Work | None = None
) -> private_keys.Match | None:
    """Of the first private key in PEM. An encrypted PKCS#8 key is tried with the passphrases; the older form
    (a "Proc-Type" header) is only said to be encrypted. None: no private key in it."""
    for block in pem.blocks(data):
        if not block.is_private_key or block.problem is not None:
            continue
        spki = der.read(leaf).spki_sha256
        if block.label == "ENCRYPTED PRIVATE KEY":
            return _encrypted_match(block.data, spki, passphrases, work or Work())
        return private_keys.match(block.pem, spki)
    return None


def _encrypted_match(
    data: bytes, spki: bytes | None, passphrases: Sequence[str], work: Work
) -> private_keys.Match:
    for passphrase in passphrases:
        try:
            key = decrypt_private_key(ber.only(data), passphrase, work)
            ber.only(key)
        except Undecryptable as error:
            if error.kind != "passphrase":
                break
        except Unreadable:
            continue
        else:
            return private_keys.match(key, spki)
    return "encrypted"
