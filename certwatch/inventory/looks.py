"""An observation made ready for the tables: hashed, in canonical form, comparable with one digest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from certwatch.inventory.instants import to_micros
from certwatch.inventory.text import storable
from certwatch.model.observation import Fact, LookError, Observation

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(slots=True, kw_only=True)
class Look:
    uri: str
    #: Microseconds since 1970.
    at: int
    chain: tuple[bytes, ...]
    #: SHA-256 of each of `chain`.
    fingerprints: tuple[bytes, ...]
    #: The stable facts, canonical JSON.
    facts: str
    #: Digest of `fingerprints` and `facts`: the same means unchanged.
    shown: bytes
    #: None: the look went well.
    error_kind: str | None
    error_message: str | None
    scope: str
    #: Configured labels and the observation's own, canonical JSON.
    labels: str
    #: It saw what is there: a chain, or what a place without certificates has to say (a CRL, an OCSP answer).
    saw: bool = True
    #: Not to become a location by this look (`Observation.guessed`).
    only_known: bool = False
    #: It counts as not seen (`Observation.absent`).
    absent: bool = False


def prepare(observations: Iterable[Observation], labels: Mapping[str, str]) -> list[Look]:
    configured = canonical(labels)
    looks = []
    for each in observations:
        fingerprints = tuple([sha256(der).digest() for der in each.chain])
        # Facts measured anew by every look are no change, and are not kept.
        stable: Mapping[str, Fact] = each.facts
        for name in stable:
            if name.endswith("_seconds"):
                stable = {name: value for name, value in each.facts.items() if not name.endswith("_seconds")}
                break
        facts = canonical(stable)
        error = each.error
        if error is None and not fingerprints and not each.facts:
            error = LookError(
                kind="no-certificate", message="nothing was seen, and the collector did not say why"
            )
        looks.append(
            Look(
                uri=storable(each.location),
                at=to_micros(each.observed_at),
                chain=each.chain,
                fingerprints=fingerprints,
                facts=facts,
                shown=sha256(b"".join(fingerprints) + facts.encode()).digest()[:16],
                error_kind=None if error is None else error.kind,
                error_message=None if error is None else storable(error.message),
                scope=storable(each.scope),
                labels=canonical({**labels, **each.labels}) if each.labels else configured,
                saw=bool(fingerprints) or error is None,
                only_known=each.guessed and not each.chain,
                absent=each.absent and not each.chain,
            )
        )
    return looks


def canonical(values: Mapping[str, Fact]) -> str:
    """The same JSON for the same mapping, whatever its order."""
    try:
        return _encode(values).decode()
    except UnicodeEncodeError:
        return _encode(
            {storable(key): storable(each) if isinstance(each, str) else each for key, each in values.items()}
        ).decode()
