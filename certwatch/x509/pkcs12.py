"""PKCS#12 (RFC 7292), `.p12` and `.pfx`: every key with its chain, every other certificate.

Read part by part and not by a library's one call, for three reasons. Each count of iterations is seen before it is
spent. A file holds more than one key (Java's keystores do) and each has its name. And what is not encrypted is read
even without the passphrase. A key is decrypted to compare it with its certificate, and dropped.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from certwatch.model.certificate import Certificate
from certwatch.x509 import ber, der, private_keys
from certwatch.x509.ber import SEQUENCE, Element
from certwatch.x509.containers import (
    MAX_CERTIFICATES,
    MAX_KEYS,
    Container,
    Entry,
    Problem,
    bundle,
    chain_from,
    malformed,
    unique,
)
from certwatch.x509.pbe import (
    DIGESTS,
    PRFS,
    Passphrase,
    Undecryptable,
    Work,
    bmp,
    decrypt,
    decrypt_private_key,
    pbkdf2,
    pkcs12_key,
)
from certwatch.x509.tlv import Unreadable

_DATA, _SIGNED, _ENCRYPTED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.6"
_KEY_BAG, _SHROUDED_BAG, _CERTIFICATE_BAG, _CRL_BAG, _NESTED_BAG = (
    f"1.2.840.113549.1.12.10.1.{each}" for each in (1, 2, 3, 4, 6)
)
_X509_CERTIFICATE, _X509_CRL = "1.2.840.113549.1.9.22.1", "1.2.840.113549.1.9.23.1"
_FRIENDLY_NAME, _LOCAL_KEY_ID = "1.2.840.113549.1.9.20", "1.2.840.113549.1.9.21"
_PBMAC1 = "1.2.840.113549.1.5.14"
_MAX_NESTING = 8
#: Comparisons of keys without a key id with certificates, of all keys together: some 50 µs each.
_MAX_COMPARISONS = 10_000


@dataclass(slots=True)
class _Bag:
    """A key or a certificate with its attributes."""

    content: bytes
    encrypted: bool = False
    friendly_name: str = ""
    local_key_id: bytes = b""


@dataclass(slots=True)
class _Contents:
    keys: list[_Bag] = field(default_factory=list)
    certificates: list[_Bag] = field(default_factory=list)
    crls: list[bytes] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def looks_like(data: bytes) -> bool:
    """Is this PFX, whole or cut off: a SEQUENCE that begins with version 3 and a ContentInfo?"""
    try:
        version = ber.element(data, ber.inside(data))
        kind = ber.element(data, ber.inside(data, version.after))
        return ber.integer(version) == 3 and ber.oid(kind) in (_DATA, _SIGNED)
    except Unreadable:
        return False


def read(data: bytes, passphrases: Sequence[str] = (), work: Work | None = None) -> Container:
    """Never raises. The passphrases are tried in order; then the empty one, then none at all (which is another)."""
    work = work or Work()
    found = _Contents()
    candidates: list[Passphrase] = [*dict.fromkeys([*passphrases, ""]), None]
    try:
        _, safe, *mac = ber.parts(ber.only(data), 2, "PFX")
        kind, content = _content_info(safe)
        if kind == _SIGNED:
            # Public-key integrity mode: who signed it does not matter to what is in it.
            kind, content = _signed_content(content)
        if kind != _DATA:
            raise Unreadable(f"its contents are of type {kind}")
        authenticated = ber.octets(content)
        if mac:
            candidates = _candidates(mac[0], authenticated, candidates, work, found)
        for info in ber.only(authenticated).children():
            candidates = _safe_contents(info, candidates, work, found)
    except (Unreadable, Undecryptable) as error:
        found.problems.append(_problem(error, "the store"))
    return _container(found, candidates, work)


def _problem(error: Unreadable | Undecryptable, what: str) -> Problem:
    if isinstance(error, Unreadable):
        return malformed(f"{what}: {error}")
    return Problem(kind="passphrase" if error.kind == "passphrase" else "other", message=f"{what} {error}")


def _content_info(info: Element) -> tuple[str, Element]:
    """ContentInfo (RFC 2315, 7): its type, and what is under [0]."""
    kind, wrapped, *_ = ber.parts(info.expect(SEQUENCE, "a ContentInfo"), 2, "ContentInfo")
    return ber.oid(kind), ber.parts(wrapped.expect(0xA0, "content"), 1, "ContentInfo's content")[0]


def _signed_content(signed: Element) -> tuple[str, Element]:
    return _content_info(ber.parts(signed.expect(SEQUENCE, "SignedData"), 4, "SignedData")[2])


def _candidates(
    mac: Element, content: bytes, candidates: list[Passphrase], work: Work, found: _Contents
) -> list[Passphrase]:
    try:
        return _opened_by(mac, content, candidates, work)
    except (Unreadable, Undecryptable) as error:
        # What is not encrypted is read all the same.
        found.problems.append(_problem(error, "the store's MAC"))
        return candidates


def _opened_by(
    mac: Element, content: bytes, candidates: Sequence[Passphrase], work: Work
) -> list[Passphrase]:
    """The passphrase that makes this MAC; none if none does. All of them if the MAC is of a kind that is not known.
    Raises Undecryptable: it would cost too much."""
    digest_info, salt, *rest = ber.parts(mac.expect(SEQUENCE, "MacData"), 2, "MacData")
    algorithm, digest = ber.parts(digest_info.expect(SEQUENCE, "DigestInfo"), 2, "DigestInfo")[:2]
    inner = ber.parts(algorithm.expect(SEQUENCE, "an AlgorithmIdentifier"), 1, "an AlgorithmIdentifier")
    name, expected = ber.oid(inner[0]), ber.octets(digest)
    if name == _PBMAC1 and len(inner) > 1:
        return [
            each
            for each in candidates
            if hmac.compare_digest(_pbmac1(inner[1], content, each, work), expected)
        ][:1]
    if name not in DIGESTS:
        return list(candidates)
    hash_name, seasoning = DIGESTS[name], ber.octets(salt)
    # RFC 7292, 4: one iteration where nothing is said.
    iterations = ber.integer(rest[0]) if rest else 1
    size = hashlib.new(hash_name, usedforsecurity=False).digest_size
    for candidate in candidates:
        key = pkcs12_key(bmp(candidate), seasoning, iterations, 3, size, hash_name, work)
        if hmac.compare_digest(hmac.digest(key, content, hash_name), expected):
            return [candidate]
    return []


def _pbmac1(parameters: Element, content: bytes, passphrase: Passphrase, work: Work) -> bytes:
    """RFC 9579: the key by PBKDF2, whose parameters then say the key's length."""
    derivation, scheme = (
        ber.parts(each.expect(SEQUENCE, "an AlgorithmIdentifier"), 1, "an AlgorithmIdentifier")
        for each in ber.parts(parameters.expect(SEQUENCE, "PBMAC1 parameters"), 2, "PBMAC1 parameters")[:2]
    )
    hash_name = PRFS.get(ber.oid(scheme[0]))
    if hash_name is None or len(derivation) < 2:
        raise Undecryptable(
            "unsupported", f"is authenticated by {ber.oid(scheme[0])}, which is not supported"
        )
    lengths = [each for each in list(derivation[1].children())[2:] if each.tag == ber.INTEGER]
    length = ber.integer(lengths[0]) if lengths else hashlib.new(hash_name).digest_size
    if not 0 < length <= 1024:
        raise Unreadable(f"a MAC key of {length} bytes")
    key = pbkdf2(derivation[1], passphrase, length, work)
    return hmac.digest(key, content, hash_name)


def _safe_contents(
    info: Element, candidates: list[Passphrase], work: Work, found: _Contents
) -> list[Passphrase]:
    """Reads one ContentInfo of the AuthenticatedSafe. Returns the passphrases that are still worth trying."""
    try:
        kind, content = _content_info(info)
        if kind == _DATA:
            _bags(ber.only(ber.octets(content)), found)
        elif kind == _ENCRYPTED:
            algorithm, encrypted = _encrypted_content(content)
            plain, passphrase = _try_all(lambda each: decrypt(algorithm, encrypted, each, work), candidates)
            _bags(ber.only(plain), found)
            return [passphrase]
        else:
            found.problems.append(
                Problem(
                    kind="other", message=f"a part of the store is of type {kind}, which is not supported"
                )
            )
    except (Unreadable, Undecryptable) as error:
        found.problems.append(_problem(error, "a part of the store"))
    return candidates


def _encrypted_content(content: Element) -> tuple[Element, bytes]:
    """EncryptedData (RFC 2315, 13)."""
    info = ber.parts(content.expect(SEQUENCE, "EncryptedData"), 2, "EncryptedData")[1]
    _, algorithm, *encrypted = ber.parts(info.expect(SEQUENCE, "EncryptedContentInfo"), 2, "its content")
    return algorithm, ber.octets(encrypted[0]) if encrypted else b""


def _try_all(
    attempt: Callable[[Passphrase], bytes], candidates: Sequence[Passphrase]
) -> tuple[bytes, Passphrase]:
    """Raises Undecryptable: none of them opens it."""
    for candidate in candidates:
        try:
            plain = attempt(candidate)
            # One wrong passphrase in 256 leaves a right padding.
            ber.only(plain)
        except Undecryptable as error:
            if error.kind != "passphrase":
                raise
        except Unreadable:
            continue
        else:
            return plain, candidate
    raise Undecryptable("passphrase", "does not open with the passphrases that were given")


def _bags(safe: Element, found: _Contents) -> None:
    """SafeContents (RFC 7292, 4.2), and those inside it, without recursion."""
    waiting = [(safe, 0)]
    while waiting:
        contents, depth = waiting.pop()
        try:
            for bag in contents.children():
                nested = _bag(bag, found)
                if nested is not None and depth < _MAX_NESTING:
                    waiting.append((nested, depth + 1))
        except Unreadable as error:
            found.problems.append(_problem(error, "a part of the store"))


def _bag(bag: Element, found: _Contents) -> Element | None:
    """One SafeBag. Returns the SafeContents that it is, if it is that."""
    kind_of, wrapped, *attributes = ber.parts(bag.expect(SEQUENCE, "a SafeBag"), 2, "SafeBag")
    kind, value = ber.oid(kind_of), ber.parts(wrapped, 1, "SafeBag's value")[0]
    if kind == _NESTED_BAG:
        return value
    if kind in (_KEY_BAG, _SHROUDED_BAG):
        if len(found.keys) == MAX_KEYS:
            raise Unreadable(f"more than {MAX_KEYS} keys")
        found.keys.append(_attributes(_Bag(value.raw, encrypted=kind == _SHROUDED_BAG), attributes))
    elif kind in (_CERTIFICATE_BAG, _CRL_BAG):
        name, content = ber.parts(value, 2, "a certificate's bag")[:2]
        raw = ber.octets(ber.parts(content, 1, "a certificate's bag")[0])
        if ber.oid(name) == _X509_CRL:
            found.crls.append(raw)
        elif ber.oid(name) != _X509_CERTIFICATE:
            pass  # SDSI, which nobody writes
        elif len(found.certificates) < MAX_CERTIFICATES:
            found.certificates.append(_attributes(_Bag(raw), attributes))
        else:
            raise Unreadable(f"more than {MAX_CERTIFICATES} certificates")
    return None


def _attributes(bag: _Bag, attributes: Sequence[Element]) -> _Bag:
    """The two that say what belongs together; odd ones are passed over."""
    if not attributes:
        return bag
    for attribute in attributes[0].children():
        try:
            name, values = ber.parts(attribute, 2, "an attribute")[:2]
            kind = ber.oid(name)
            if kind == _FRIENDLY_NAME:
                bag.friendly_name = next(values.children()).content[:2048].decode("utf-16-be", "replace")
            elif kind == _LOCAL_KEY_ID:
                bag.local_key_id = next(values.children()).content[:256]
        except (Unreadable, StopIteration):
            continue
    return bag


def _container(found: _Contents, candidates: Sequence[Passphrase], work: Work) -> Container:
    """One entry for each key with its chain; the certificates that no chain uses together, as trusted ones."""
    certificates = [der.read(bag.content) for bag in found.certificates]
    entries, used = [], set[bytes]()
    for number, bag in enumerate(found.keys, 1):
        at, verdict = _leaf(bag, found, certificates, candidates, work)
        if at is None:
            continue
        chain = chain_from(certificates[at], certificates)
        used.update(chain)
        name = bag.friendly_name or found.certificates[at].friendly_name or str(number)
        entries.append(Entry(name=name, certificates=chain, key=verdict))
    rest = bundle(each.der for each in certificates if each.der not in used)
    return Container(
        format="pkcs12",
        entries=unique([*rest, *entries]),
        crls=tuple(found.crls),
        problems=tuple(dict.fromkeys(found.problems)),
    )


def _leaf(
    bag: _Bag,
    found: _Contents,
    certificates: Sequence[Certificate],
    candidates: Sequence[Passphrase],
    work: Work,
) -> tuple[int | None, private_keys.Match]:
    """Which certificate a key is of: what the store says by its key id, else the one that has this key, else the
    first that is no CA. None: there is none."""
    named = [
        at
        for at, each in enumerate(found.certificates)
        if bag.local_key_id and each.local_key_id == bag.local_key_id
    ]
    key = bag.content
    if bag.encrypted:
        sealed = ber.element(key)
        try:
            key, _ = _try_all(lambda each: decrypt_private_key(sealed, each, work), candidates)
        except (Unreadable, Undecryptable) as error:
            # A key that does not open is no problem of the certificates; one that may not be tried is told.
            if isinstance(error, Unreadable) or error.kind != "passphrase":
                found.problems.append(_problem(error, "a private key"))
            return (named[0] if named else _first_leaf(certificates)), "encrypted"
    for at in named or range(min(len(certificates), _MAX_COMPARISONS // len(found.keys))):
        verdict = private_keys.match(key, certificates[at].spki_sha256)
        if verdict == "match" or named:
            return at, verdict
    first = _first_leaf(certificates)
    return first, "unknown" if first is None else private_keys.match(key, certificates[first].spki_sha256)


def _first_leaf(certificates: Sequence[Certificate]) -> int | None:
    leaves = [at for at, each in enumerate(certificates) if not each.is_ca]
    return leaves[0] if leaves else (0 if certificates else None)
