"""What is in a file that holds certificates in any form but bare PEM and DER: one shape for all formats."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from certwatch.model.certificate import Certificate
from certwatch.x509 import private_keys
from certwatch.x509.names import escape

Format = Literal["pkcs7", "pkcs12", "jks", "jceks", "kubeconfig", "openvpn", "crl"]
#: passphrase: there is more behind a passphrase that was not given. other: it is there, and is not read on purpose
#: (a method that is not supported, a file that asks for too much work).
ProblemKind = Literal["malformed", "passphrase", "other"]

#: Certificates of one container. The largest trust stores have some hundred, the Mozilla CCADB bundles 3,000.
MAX_CERTIFICATES = 20_000
#: Keys of one container, each of which becomes a place of its own.
MAX_KEYS = 5_000
_LONGEST_CHAIN = 20
#: A name becomes part of a location.
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    kind: ProblemKind
    #: One clause for an operator, without the path: what was not read, why. No secret.
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Certificates that belong together."""

    #: Unique in its container and stable from look to look: an alias, "user/admin", "cert". Empty: the container's
    #: own, which is its trusted certificates together.
    name: str
    #: Each one's DER; of a chain the leaf first.
    certificates: tuple[bytes, ...] = ()
    arrangement: Literal["chain", "bundle"] = "chain"
    #: The private key beside the leaf. None: there is none.
    key: private_keys.Match | None = None
    #: The file that holds the certificates, as it is named here. None: they are in the container.
    path: str | None = None
    #: The file that holds the private key, as it is named here.
    key_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    format: Format
    #: Those with certificates or with a path to them; what holds a key alone is left out.
    entries: tuple[Entry, ...] = ()
    #: Certificate revocation lists, each one's DER.
    crls: tuple[bytes, ...] = ()
    #: What could not be read. What could is in `entries` all the same.
    problems: tuple[Problem, ...] = ()


def malformed(message: str) -> Problem:
    return Problem(kind="malformed", message=message)


def shown(name: str) -> str:
    """A name out of a file, for a message: nothing that moves a cursor, not endless."""
    return escape(name if len(name) <= 80 else name[:77] + "…")


def unique(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Entries of one name become "name", "name~2", "name~3", in order; endless names are cut, with a digest behind."""
    counts: dict[str, int] = {}
    taken: set[str] = set()
    result = []
    for entry in entries:
        stem = _bounded(entry.name)
        name, count = stem, counts.get(stem, 0)
        while name in taken:
            count += 1
            name = f"{stem}~{count + 1}"
        counts[stem] = count
        taken.add(name)
        result.append(entry if name == entry.name else replace(entry, name=name))
    return tuple(result)


def _bounded(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[:_LONGEST_NAME]}~{digest[:16]}"


def chain_from(leaf: Certificate, others: Sequence[Certificate]) -> tuple[bytes, ...]:
    """The leaf, and what of the others is above it by name, up to a root. What is signed by whom is not judged."""
    by_subject: dict[bytes, list[Certificate]] = {}
    for other in others:
        if other.subject_der is not None:
            by_subject.setdefault(other.subject_der, []).append(other)
    chain = [leaf]
    while len(chain) < _LONGEST_CHAIN and not chain[-1].is_self_issued:
        candidates = by_subject.get(chain[-1].issuer_der or b"", [])
        above = _issuer(chain[-1], [each for each in candidates if each not in chain])
        if above is None:
            break
        chain.append(above)
    return tuple(each.der for each in chain)


def _issuer(below: Certificate, candidates: list[Certificate]) -> Certificate | None:
    """Of several with the name, the one whose key is named; else the first."""
    for candidate in candidates:
        if below.authority_key_id is not None and candidate.subject_key_id == below.authority_key_id:
            return candidate
    return candidates[0] if candidates else None


def bundle(certificates: Iterable[bytes]) -> tuple[Entry, ...]:
    """The container's own entry, each certificate once. Nothing of nothing."""
    once = tuple(dict.fromkeys(certificates))
    return (Entry(name="", certificates=once, arrangement="bundle"),) if once else ()
