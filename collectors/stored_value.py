"""Secrets' and parameters' values: the certificates in them. Whatever else is in them is dropped at once."""

import base64
import binascii
import json
from collections.abc import Iterator

from certwatch.x509 import der, pem
from collectors.file.contents import Contents
from collectors.kubernetes import material

#: Of one value.
MAX_BYTES = 1 << 20
_MOST_PARTS = 50
_URL_SAFE = str.maketrans("-_", "+/")
_KEYS = ("private_key", "privateKey", "private-key", "privatekey", "key", "tls.key", "keyfile")
_PASSPHRASES = ("passphrase", "password", "keystore_password", "storepass")


def contents(where: str, value: str | bytes) -> list[tuple[str, Contents]]:
    """Each with its part's name; empty: the value as a whole."""
    if isinstance(value, str):
        tree = _tree(value)
        if tree is not None:
            return list(_parts(where, tree))[:_MOST_PARTS]
        value = value.encode("utf-8", "surrogatepass")
    data = _plain(value)
    found = material.contents(where, "", data, private_key=lambda: None, passphrases=lambda: ())
    return [(each.entry, each) for each in found if each][:_MOST_PARTS]


def chain(text: str) -> tuple[bytes, ...]:
    """Certificates of one text, DER: PEM (its line breaks perhaps written as "\\n"), or base64, also the URL-safe one, of DER,
    of PEM or of PKCS #7. Empty: it holds none."""
    text = text.strip()
    if len(text) > MAX_BYTES:
        return ()
    data = text.encode("utf-8", "replace")
    if b"-----BEGIN " not in data:
        plain = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
        try:
            data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except (binascii.Error, ValueError):
            return ()
    elif b"\n" not in data:
        data = data.replace(b"\\n", b"\n")
    if b"-----BEGIN " in data:
        found = tuple(each.data for each in pem.blocks(data) if each.is_certificate and each.data)
        if found:
            return found
    elif data[:1] == b"\x30":
        certificate = der.read(data)
        if certificate.issuer_der is not None and certificate.not_before is not None:
            return (certificate.der,)
    return next((each.chain for _, each in contents("", data) if each.chain), ())


def _tree(text: str) -> dict[str, object] | None:
    """Secrets are often an object of strings."""
    if not text.lstrip().startswith("{") or len(text) > MAX_BYTES:
        return None
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _parts(where: str, tree: dict[str, object]) -> Iterator[tuple[str, Contents]]:
    key = next((str(tree[name]) for name in _KEYS if isinstance(tree.get(name), str)), None)
    passphrases = [str(tree[name]) for name in _PASSPHRASES if isinstance(tree.get(name), str)]
    for name, value in sorted(tree.items()):
        if not isinstance(value, str) or name in _KEYS or name in _PASSPHRASES:
            continue
        found = material.contents(
            f"{where}: {name}",
            "",
            _plain(value.encode("utf-8", "surrogatepass")),
            private_key=lambda: key.encode("utf-8", "replace") if key is not None else None,
            passphrases=lambda: passphrases,
        )
        for each in found:
            if each:
                yield (f"{name}/{each.entry}" if each.entry else name), each


def _plain(data: bytes) -> bytes:
    """PEM whose line breaks came as "\\n" is put right; base64 of something binary is decoded."""
    data = data[:MAX_BYTES]
    if b"-----BEGIN " in data:
        return data.replace(b"\\n", b"\n") if b"\n" not in data.strip() else data
    try:
        decoded = base64.b64decode(data, validate=False) if data[:2] in (b"MI", b"/u", b"zs", b"LS") else b""
    except (binascii.Error, ValueError):
        decoded = b""
    return decoded or data
