"""Path validation by OpenSSL, as most clients do it: nginx, curl, Python, PHP and Ruby ask the same library.

pyOpenSSL hands on the code, the depth and the certificate of the first fault, which no other library does; it does
not let a purpose be set, so that one call goes to the binding below it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from cryptography import x509
from OpenSSL import crypto
from OpenSSL._util import lib

from certwatch.pki.trust import TrustStore

Purpose = Literal["server", "client", "any"]

_PURPOSES = {
    "server": lib.X509_PURPOSE_SSL_SERVER,
    "client": lib.X509_PURPOSE_SSL_CLIENT,
    "any": lib.X509_PURPOSE_ANY,
}
_FLAGS = crypto.X509StoreFlags
#: Longer paths are nobody's; a loop of cross-signs is.
MAX_DEPTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why OpenSSL does not accept a path."""

    #: X509_V_ERR_*; 0: the leaf itself could not be loaded.
    code: int
    #: Place in the path: 0 is the leaf.
    depth: int
    #: In OpenSSL's words.
    text: str
    #: The certificate at fault, DER. None: not known.
    certificate: bytes | None


def verify(
    leaf: bytes,
    untrusted: Sequence[bytes],
    trust: TrustStore,
    now: datetime,
    *,
    purpose: Purpose = "server",
    strict: bool = False,
) -> tuple[bytes, ...] | Refusal:
    """The path from the leaf to an anchor, both included, as DER; or why there is none.

    An anchor need not be self-signed. Names of hosts, revocation and policies are not looked at. `strict`: what RFC
    5280 forbids is refused also where clients are used to it (X509_V_FLAG_X509_STRICT). Certificates that OpenSSL
    cannot load are passed over; a leaf that it cannot load is refused.
    """
    loaded = _load(leaf)
    if loaded is None:
        return Refusal(code=0, depth=0, text="cannot be loaded", certificate=leaf)
    store = _store(trust, purpose, strict, now)
    proven = _proven_above(tuple(untrusted), trust, purpose, strict, now)
    if proven and _is_accepted(loaded, proven[0]):
        return (leaf, *proven[0].path)
    others = [each for each in map(_load_issuer, untrusted) if each is not None]
    context = crypto.X509StoreContext(store, loaded, others)
    try:
        path = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        code, depth, text = error.errors
        at = error.certificate
        return Refusal(
            code=int(code),
            depth=int(depth),
            text=str(text),
            certificate=None if at is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, at),
        )
    found = tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in path)
    if not proven and len(found) > 2 and not any(_NAME_CONSTRAINTS in each for each in found[1:]):
        proven.append(_Proven(found[1:], _prepared([path[1]], purpose, strict, now)))
    return found


@dataclass(frozen=True, slots=True)
class _Proven:
    """What stands above a leaf that was accepted. Nothing in it depends on the leaf, name constraints apart, so the next
    leaf of the same issuer needs one signature looked at and not all of them again."""

    path: tuple[bytes, ...]
    #: Trusts the path's first alone.
    store: crypto.X509Store


#: DER of the extension's OID. Found elsewhere in a certificate by chance, it costs the short cut only.
_NAME_CONSTRAINTS = b"\x06\x03\x55\x1d\x1e"


@lru_cache(maxsize=4096)
def _proven_above(
    untrusted: tuple[bytes, ...], trust: TrustStore, purpose: Purpose, strict: bool, now: datetime
) -> list[_Proven]:
    """None or one, filled by the first leaf that is accepted."""
    return []


def _is_accepted(leaf: crypto.X509, proven: _Proven) -> bool:
    try:
        crypto.X509StoreContext(proven.store, leaf).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


@lru_cache(maxsize=32)
def _store(trust: TrustStore, purpose: Purpose, strict: bool, now: datetime) -> crypto.X509Store:
    """One for each instant: a store keeps the time that it was given first, whatever it is given later."""
    return _prepared(_anchors(trust), purpose, strict, now)


def _prepared(
    anchors: Iterable[crypto.X509], purpose: Purpose, strict: bool, now: datetime
) -> crypto.X509Store:
    store = crypto.X509Store()
    for anchor in anchors:
        store.add_cert(anchor)
    store.set_flags(_FLAGS.PARTIAL_CHAIN | (_FLAGS.X509_STRICT | _FLAGS.CHECK_SS_SIGNATURE if strict else 0))
    lib.X509_STORE_set_purpose(store._store, _PURPOSES[purpose])
    store.set_time(now)
    return store


@lru_cache(maxsize=32)
def _anchors(trust: TrustStore) -> tuple[crypto.X509, ...]:
    loaded = (_load(anchor.der) for same in trust.anchors.values() for anchor in same)
    return tuple(each for each in loaded if each is not None)


def _load(der: bytes) -> crypto.X509 | None:
    try:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    except (crypto.Error, ValueError, x509.InvalidVersion):
        return None


#: Issuers come again and again; leaves do not.
_load_issuer = lru_cache(maxsize=4096)(_load)
