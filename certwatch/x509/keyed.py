"""Certificates in values under keys, as stores of secrets have them: PEM, or base64 of PEM or DER. What stands above one, and its
private key, may be under other keys. Private keys are compared, and dropped. No I/O."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from certwatch.model.certificate import Certificate
from certwatch.x509 import der, pem, private_keys
from certwatch.x509.arrangement import arrangement

#: Of one value; longer ones are passed over.
MAX_VALUE = 1 << 20
#: Of one secret: keys that are looked at, certificates of one value, private keys that are tried.
MAX_KEYS, MAX_CERTIFICATES, MAX_PRIVATE_KEYS = 500, 200, 20
#: A private key stands under one of these, if several are there that do not fit.
PRIVATE_KEYS = (
    "tls.key",
    "private_key",
    "privateKey",
    "private-key",
    "key",
    "key.pem",
    "privkey.pem",
    "privkey",
)

_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    #: PEM or DER. Never shown.
    data: bytes = field(repr=False)
    #: It stands in base64.
    is_base64: bool = False
    #: It is a list of texts.
    is_list: bool = False

    @property
    def is_pem(self) -> bool:
        return b"-----BEGIN " in self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    key: str
    #: DER, leaf first, with what stands above it under other keys. Empty: nothing can be read.
    chain: tuple[bytes, ...]
    #: "chain" or "bundle"; see `arrangement`.
    arrangement: str
    #: Keys that hold what is above it, the longest first.
    above: tuple[str, ...] = ()
    #: Where its private key stands. None: there is none.
    private_key: str | None = None
    #: None: there is none, or it cannot be read.
    verdict: private_keys.Match | None = None
    #: Blocks that cannot be read.
    damaged: int = 0


def value_of(given: object) -> Value | None:
    """None: it cannot hold a certificate or key."""
    if isinstance(given, list):
        texts = [each for each in given[:MAX_CERTIFICATES] if isinstance(each, str)]
        joined = "\n".join(texts)
        if "-----BEGIN " not in joined or len(joined) > MAX_VALUE:
            return None
        return Value(data=joined.encode("utf-8", "replace"), is_list=True)
    if not isinstance(given, str) or len(given) > MAX_VALUE:
        return None
    if "-----BEGIN " in given:
        return Value(data=given.encode("utf-8", "replace"))
    # What DER of this size, and PEM, begin with.
    if not given.lstrip().startswith(("MI", "LS0tLS1C", "MH", "MF", "MC")) or not _BASE64.fullmatch(given):
        return None
    try:
        return Value(data=b64decode(given), is_base64=True)
    except (binascii.Error, ValueError):
        return None


def entries(
    held: Mapping[str, object], wanted: Callable[[str], bool], *, above: Iterable[str] = ()
) -> list[Entry]:
    """Key by key, of those that are wanted. What is the chain of another is none of its own. `above`: keys that hold what is
    above all of them, whatever they look like. Never raises."""
    values = {
        key: value for key, given in list(held.items())[:MAX_KEYS] if (value := value_of(given)) is not None
    }
    found = {key: _certificates(value) for key, value in values.items()}
    holders = {key: each for key, (each, damaged) in found.items() if each}
    private = _private_keys(values)
    told: list[Entry] = []
    for key, (chain, damaged) in found.items():
        if not wanted(key) or not (chain or damaged):
            continue
        if not chain:
            told.append(Entry(key=key, chain=(), arrangement="bundle", damaged=damaged))
            continue
        own = [der.read(each) for each in chain]
        others = _above(key, own, holders, above)
        if others:
            chain = [*chain, *holders[others[0]]]
            own = [der.read(each) for each in chain]
        arranged = arrangement(own)
        place, verdict = _key_of(own[0], key, private) if arranged == "chain" else (None, None)
        told.append(
            Entry(
                key=key,
                chain=tuple(chain),
                arrangement=arranged,
                above=others,
                private_key=place,
                verdict=verdict,
                damaged=damaged,
            )
        )
    part = {each for entry in told for each in entry.above}
    return [each for each in told if each.key not in part]


def _certificates(value: Value) -> tuple[list[bytes], int]:
    """And how many that cannot be read."""
    if not value.is_pem:
        chain, problems = der.series(value.data)
        return chain[:MAX_CERTIFICATES], len(problems) if chain else 0
    blocks = [each for each in pem.blocks(value.data) if "CERTIFICATE" in each.label]
    good = [each.data for each in blocks if each.is_certificate and each.problem is None]
    return good[:MAX_CERTIFICATES], sum(each.problem is not None for each in blocks)


def _above(
    key: str, own: list[Certificate], holders: Mapping[str, list[bytes]], named: Iterable[str]
) -> tuple[str, ...]:
    if len(own) != 1 or own[0].is_ca:
        return ()
    leaf = own[0]
    found = [each for each in named if each in holders and each != key]
    for other, chain in holders.items():
        first = der.read(chain[0])
        if other != key and first.is_ca and first.subject_der == leaf.issuer_der and other not in found:
            found.append(other)
    return tuple(sorted(found, key=lambda each: -len(holders[each])))


def _private_keys(values: Mapping[str, Value]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, value in values.items():
        if len(found) >= MAX_PRIVATE_KEYS:
            break
        if value.is_pem:
            blocks = (each.pem for each in pem.blocks(value.data) if each.is_private_key and not each.problem)
            first = next(blocks, None)
            if first is not None:
                found[key] = first
        elif value.data[:1] == b"\x30" and not der.series(value.data)[0]:
            found[key] = value.data
    return found


def _key_of(
    leaf: Certificate, key: str, private: Mapping[str, bytes]
) -> tuple[str | None, private_keys.Match | None]:
    verdicts = {each: private_keys.match(data, leaf.spki_sha256) for each, data in private.items()}
    # By their names first: the same key may be there twice, or one that was meant to fit and does not.
    stem = key.rpartition(".")[0]
    named = [each for each in (key, f"{stem}.key" if stem else "", *PRIVATE_KEYS) if each in verdicts]
    fitting = [each for each in (*named, *verdicts) if verdicts[each] == "match"]
    place = next(iter(fitting or named), None)
    return place, verdicts[place] if place is not None else None
