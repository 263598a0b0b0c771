"""Instants as the tables keep them: whole microseconds since 1970, so that nothing is lost either way."""

from datetime import UTC, datetime, timedelta
from typing import overload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Of a second.
MICROS = 1_000_000

#: In place of a certificate's date that could not be read: sorts last and is before no instant.
UNREADABLE = 2**63 - 1


@overload
def from_micros(micros: int) -> datetime: ...
@overload
def from_micros(micros: None) -> None: ...
def from_micros(micros: int | None) -> datetime | None:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


def to_micros(instant: datetime) -> int:
    """`instant` is aware; a naive one raises TypeError."""
    return (instant - EPOCH) // _MICROSECOND
