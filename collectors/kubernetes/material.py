"""Bytes under a key to what they hold: certificates in PEM and DER, keystores, lists. Keys are compared and dropped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from certwatch.model.certificate import Certificate
from certwatch.model.observation import Fact, LookError
from certwatch.x509 import der, inline, keystores, private_keys
from certwatch.x509.arrangement import arrangement
from certwatch.x509.containers import Container
from certwatch.x509.pbe import Work
from collectors.file import container
from collectors.file.contents import Contents, failed, one_line
from collectors.file.plain import read_plain

#: Keys with these endings hold certificates by their name: that one cannot be read is told, not passed over.
CERTIFICATE_ENDINGS = (".crt", ".cer", ".cert")
_MOST_KEPT = 8 << 10
STORE_ENDINGS = (".p12", ".pfx", ".jks", ".jceks")

#: Gives the private key that belongs to the certificates, as far as there is one beside them.
Key = Callable[[], bytes | None]


@dataclass(frozen=True, slots=True)
class _Keys:
    """How a private key is had, and opened."""

    private_key: Key
    passphrases: Callable[[], Sequence[str]]
    work: Work


def contents(
    where: str,
    key: str,
    data: bytes,
    *,
    private_key: Key,
    passphrases: Callable[[], Sequence[str]],
    work: Work | None = None,
) -> list[Contents]:
    """Place by place. Empty: nothing that concerns certificates. `where` begins every message; `work` is what the object may
    still cost. None: what one file may."""
    work = work or Work()
    keys = _Keys(private_key, passphrases, work)
    if data[:10] == b"-----BEGIN" and b"-----BEGIN CERTIFICATE" in data[:40]:
        # Nearly every one: certificates, and nothing that could be a container of another kind.
        holder = None if b"PKCS" not in data and b"X509 CRL" not in data else keystores.read(data, (), work)
    else:
        # Passphrases may cost a request: they are asked for where there is something to open.
        holder = keystores.read(data, passphrases() if is_container(data) else (), work)
    if holder is None:
        found = _plain(where, data, keys)
        if found:
            return [found]
        return [] if found is None else _nothing(where, key, data)
    bare = None
    if holder.format in ("pkcs7", "crl") and b"CERTIFICATE-----" in data:
        bare = _plain(where, data, keys)
    # What a kubeconfig names by a path is on the disk of a pod.
    holder = _without_paths(holder)
    parts = container.contents(where, holder, (), _no_file, bare=bool(bare))
    if holder.format == "pkcs7":
        parts = [_with_key(each, keys) for each in parts]
    return (
        [bare, *(each for each in parts if each.entry or each.chain)]
        if bare
        else [each for each in parts if each]
    )


def is_container(data: bytes) -> bool:
    """Could it be one that a passphrase opens? PEM is not, though keys in it may be encrypted."""
    return data[:1] in (b"\x30", b"\xfe", b"\xce") or b"clusters" in data[:4096]


def _without_paths(holder: Container) -> Container:
    return replace(
        holder,
        entries=tuple(replace(each, key_path=None) for each in holder.entries if each.path is None),
    )


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)


def _plain(where: str, data: bytes, beside: _Keys) -> Contents | None:
    """None: there is something of ours in it, which needs no place (keys, parameters)."""
    found = read_plain(data)
    if not found.chain and not found.problems:
        return None if found.keys or found.has_others else Contents()
    facts: dict[str, Fact] = {}
    if found.chain:
        certificates = [der.read(found.chain[0]), *map(_above, found.chain[1:])]
        arranged = arrangement(certificates)
        facts["arrangement"] = arranged
        if arranged == "chain":
            facts |= _key_facts(found.chain[0], certificates[0].spki_sha256, found.keys, beside)
    error = None
    if found.problems:
        error = LookError(kind="malformed", message=one_line(f"{where}: {found.told()}. Check what wrote it"))
    return Contents(chain=tuple(found.chain), facts=facts, error=error)


def _above(data: bytes) -> Certificate:
    """Of those that issued: the same in thousands of Secrets. What is larger than any is not kept in memory for that."""
    return _issuer(data) if len(data) <= _MOST_KEPT else der.read(data)


@lru_cache(maxsize=256)
def _issuer(data: bytes) -> Certificate:
    return der.read(data)


def _nothing(where: str, key: str, data: bytes) -> list[Contents]:
    if key.lower().endswith(STORE_ENDINGS) and data:
        return [failed("malformed", f"{where}: no keystore of a kind that is known. Check what wrote it")]
    if not key.lower().endswith(CERTIFICATE_ENDINGS):
        return []
    if not data:
        # An empty ca.crt is what many controllers write for "none".
        return (
            [failed("no-certificate", f"{where}: empty. See what should fill it")] if key == "tls.crt" else []
        )
    return [failed("no-certificate", f"{where}: no certificate in it. Check what wrote it")]


def _with_key(part: Contents, keys: _Keys) -> Contents:
    if part.entry or not part.chain or part.facts.get("arrangement") != "chain":
        return part
    spki = der.read(part.chain[0]).spki_sha256
    return replace(part, facts={**part.facts, **_key_facts(part.chain[0], spki, [], keys)})


def _key_facts(leaf: bytes, spki: bytes | None, inside: Sequence[bytes], beside: _Keys) -> dict[str, Fact]:
    keys = inside
    if not keys:
        other = beside.private_key()
        keys = [] if other is None else [other]
    verdicts = [_match(each, leaf, spki, beside) for each in keys]
    if "match" in verdicts:
        return {"key_match": True}
    if "encrypted" in verdicts:
        return {"key_encrypted": True}
    return {"key_match": False} if "mismatch" in verdicts else {}


def _match(key: bytes, leaf: bytes, spki: bytes | None, beside: _Keys) -> private_keys.Match | None:
    if b"ENCRYPTED" in key[:200]:
        return inline.key_match(key, leaf, beside.passphrases(), beside.work)
    if key.startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in key[:60]:
        return private_keys.match(key, spki)
    return inline.key_match(key, leaf) if b"-----BEGIN " in key else private_keys.match(key, spki)


def key_beside(key: str) -> Iterator[str]:
    """Under which keys the private key of a certificate may stand, the likeliest first."""
    stem, dot, ending = key.rpartition(".")
    if key in ("cert.pem", "cert-chain.pem", "fullchain.pem", "chain.pem", "crt.pem"):
        yield from ("key.pem", "privkey.pem")
    if key == "cert-chain.pem":
        # Istio's plugged-in CA (cacerts).
        yield "ca-key.pem"
    if key in ("cert", "certificate", "crt"):
        yield from ("key", "private_key", "privateKey", "private-key")
    if dot:
        yield f"{stem}.key"
        yield f"{stem}-key.{ending}"
        for word in ("cert", "crt"):
            if word in stem:
                yield f"{stem.replace(word, 'key')}.{ending}"
