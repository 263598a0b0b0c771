"""The history of one location as spans, and where a look that comes late belongs in it. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A sighting, in the tables' terms."""

    position: int
    certificate: int
    #: Microseconds since 1970.
    first_seen: int
    #: Of one that lasts: the location's last look that saw a chain.
    last_seen: int
    #: First look that saw something else there. None: it lasts.
    ended_at: int | None


def with_late_look(spans: Sequence[Span], chain: Sequence[int], at: int, last_served: int) -> list[Span]:
    """All spans of a location after a look at `at` ≤ `last_served`, the latest, that saw `chain`.

    Never opens a span and never ends one that was seen later. Exactly what recording in order of time would have
    given if no certificate comes back to a place it had left; else what the spans (not every look is kept) allow.
    """
    positions = max([len(chain), *(span.position + 1 for span in spans)])
    result: list[Span] = []
    for position in range(positions):
        here = [span for span in spans if span.position == position]
        certificate = chain[position] if position < len(chain) else None
        # Who was not there at `at` had ended by then.
        here = [
            replace(span, ended_at=at)
            if span.certificate != certificate and span.last_seen < at and _lasts_beyond(span, at)
            else span
            for span in here
        ]
        result += here if certificate is None else _seen(here, position, certificate, at, last_served)
    return result


def _lasts_beyond(span: Span, at: int) -> bool:
    return span.ended_at is None or span.ended_at > at


def _seen(here: list[Span], position: int, certificate: int, at: int, last_served: int) -> list[Span]:
    same = [span for span in here if span.certificate == certificate]
    if any(span.first_seen <= at <= span.last_seen for span in same):
        return here
    others = [span for span in here if span.certificate != certificate]
    # Instants after `at` at which something else was there.
    otherwise = sorted(
        instant
        for span in here
        for instant in (
            (span.first_seen, span.last_seen, span.ended_at) if span in others else (span.ended_at,)
        )
        if instant is not None and instant > at
    )
    before = max(
        (span for span in same if span.last_seen < at and _lasts_beyond(span, at)),
        key=lambda span: span.last_seen,
        default=None,
    )
    after = min(
        (span for span in same if span.first_seen > at), key=lambda span: span.first_seen, default=None
    )
    if after is not None and any(instant < after.first_seen for instant in otherwise):
        after = None
    merged = [span for span in here if span not in (before, after)]
    if before is not None and after is not None:
        return [*merged, replace(after, first_seen=before.first_seen)]
    if before is not None:
        return [*merged, replace(before, last_seen=at)]
    if after is not None:
        return [*merged, replace(after, first_seen=at)]
    ended_at = otherwise[0] if otherwise else last_served
    return [
        *here,
        Span(position=position, certificate=certificate, first_seen=at, last_seen=at, ended_at=ended_at),
    ]
