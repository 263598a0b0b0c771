"""What a pushing worker and the daemon say to each other: MessagePack, each kind of message one type, everything bounded. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from certwatch.inventory.text import storable
from certwatch.model.location import LocationURI, parse_tls_location
from certwatch.model.observation import ErrorKind, Fact, LookError, Observation

#: Of one message.
MAX_BYTES = 16 << 20
#: Of a batch; one with larger looks has fewer.
BATCH_BYTES = 4 << 20
MAX_LOOKS = 1_000
MAX_TEXT = 64 << 10
#: In the chains of a batch: more than `BATCH_BYTES` of true ones. Whoever writes waits while they are recorded.
MAX_CERTIFICATES = 20_000

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Enrol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    zone: Name
    #: Host and process, for people.
    name: Name
    version: Name
    slots: Annotated[int, msgspec.Meta(ge=1, le=64)]


class Enrolled(msgspec.Struct, frozen=True):
    worker: int
    lease_seconds: float


class Held(msgspec.Struct, frozen=True):
    """Shards that are a worker's, each with its claim."""

    held: list[tuple[int, int]]


class Job(msgspec.Struct, frozen=True):
    """`certwatch.inventory.postgresql.zones.Claimed`."""

    shard: int
    claim: int
    scan: int
    part: int
    parts: int
    spec: str


class Refused(msgspec.Struct, frozen=True):
    """An answer that is not 2xx."""

    error: str


class LookWire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    location: Annotated[
        str, msgspec.Meta(max_length=8192, pattern=r"^[a-z][a-z0-9+.-]*:[^\x00-\x1f\x7f-\x9f]+\Z")
    ]
    observed_at: Annotated[datetime, msgspec.Meta(tz=True)]
    chain: Annotated[list[bytes], msgspec.Meta(max_length=10_000)]
    facts: Annotated[
        dict[Name, Annotated[str, msgspec.Meta(max_length=1 << 20)] | int | float | bool | None],
        msgspec.Meta(max_length=500),
    ]
    error: tuple[ErrorKind, Text] | None
    labels: Annotated[dict[Name, Text], msgspec.Meta(max_length=500)]
    stapled_ocsp: bytes | None
    scope: Text
    guessed: bool
    absent: bool


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    looks: Annotated[list[LookWire], msgspec.Meta(min_length=1, max_length=MAX_LOOKS)]


_looks = msgspec.msgpack.Decoder(Batch)


def encode(message: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(message)


def batches(observations: Sequence[Observation]) -> list[bytes]:
    """As messages of about `BATCH_BYTES`. A look that no message can take becomes one with an error."""
    made: list[bytes] = []
    looks: list[LookWire] = []
    size = 0
    for each in observations:
        look = _wire(each)
        length = len(msgspec.msgpack.encode(look))
        if length > MAX_BYTES // 2:
            look = _wire(_too_large(each, length))
            length = 1_000
        if looks and (size + length > BATCH_BYTES or len(looks) == MAX_LOOKS):
            made.append(encode(Batch(looks=looks)))
            looks, size = [], 0
        looks.append(look)
        size += length
    if looks:
        made.append(encode(Batch(looks=looks)))
    return made


def observations(message: bytes) -> list[Observation]:
    """Raises msgspec.MsgspecError, ValueError."""
    looks = _looks.decode(message).looks
    count = sum(len(each.chain) for each in looks)
    if count > MAX_CERTIFICATES:
        raise ValueError(f"{count} certificates in one batch are more than {MAX_CERTIFICATES}")
    return [_read(each) for each in looks]


def _wire(seen: Observation) -> LookWire:
    return LookWire(
        location=storable(seen.location),
        observed_at=seen.observed_at,
        chain=list(seen.chain),
        facts={storable(name): _fact(value) for name, value in seen.facts.items()},
        error=None if seen.error is None else (seen.error.kind, storable(seen.error.message)[:MAX_TEXT]),
        labels={storable(name): storable(value) for name, value in seen.labels.items()},
        stapled_ocsp=seen.stapled_ocsp,
        scope=storable(seen.scope),
        guessed=seen.guessed,
        absent=seen.absent,
    )


def _fact(value: Fact) -> Fact:
    return storable(value) if isinstance(value, str) else value


def _read(look: LookWire) -> Observation:
    """Raises ValueError: a place that cannot be."""
    if look.location.startswith("tls:"):
        parse_tls_location(LocationURI(look.location))
    return Observation(
        location=LocationURI(look.location),
        observed_at=look.observed_at,
        chain=tuple(look.chain),
        facts=look.facts,
        error=None if look.error is None else LookError(kind=look.error[0], message=look.error[1]),
        labels=look.labels,
        stapled_ocsp=look.stapled_ocsp,
        scope=look.scope,
        guessed=look.guessed,
        absent=look.absent,
    )


def _too_large(seen: Observation, length: int) -> Observation:
    error = LookError(
        kind="other", message=f"{seen.location}: {length} bytes are more than a worker can push"
    )
    return Observation(
        location=seen.location,
        observed_at=seen.observed_at,
        error=error,
        scope=seen.scope,
        guessed=seen.guessed,
    )
