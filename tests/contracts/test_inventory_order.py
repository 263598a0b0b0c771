"""Every store: the same looks end in the same inventory, in whatever order they arrive."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from certwatch.inventory.store import Query
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, LookError, Observation
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, opened

CERTIFICATES = [make_certificate(names=(f"dns:h{n}.example.com",)).der for n in range(5)]
URIS = ["tls://203.0.113.7:443/", "tls://203.0.113.8:443/", "file:///etc/ssl/site.pem"]
COLLECTORS = ["edge", "inner"]
REFUSED = LookError(kind="refused", message="connection refused")

#: A few each time; CERTWATCH_EXAMPLES=1000 for a long search.
quick = settings(max_examples=int(os.environ.get("CERTWATCH_EXAMPLES", "10")), deadline=None)
kinds = pytest.mark.parametrize("kind", STORES)


def everything(tried: Tried) -> dict[str, Any]:
    """All that a reader can tell, but for ids and revisions."""
    return {
        "locations": {served.location.uri: replace(served, id=0) for served in tried.reader.live()},
        "history": {uri: sorted(tried.history(uri), key=repr) for uri in URIS},
        "entries": sorted(map(repr, tried.reader.list(Query(), tried.clock()))),
        "due": sorted(tried.due()),
        "counts": tried.reader.counts(),
    }


def recorded(kind: str, batches: Sequence[Sequence[tuple[str, Observation]]]) -> dict[str, Any]:
    """Each batch's looks recorded at once for each collector, in one scan for each; checked after each step."""
    with tempfile.TemporaryDirectory() as folder, opened(kind, Path(folder)) as tried:
        scans = {name: tried.writer.begin_scan(name, tried.clock()) for name in COLLECTORS}
        for batch in batches:
            for name, scan in scans.items():
                looks = [look for collector, look in batch if collector == name]
                tried.writer.record(scan, looks, {"by": name})
                # Of what takes a server's round trips, once at the end (`opened`) is enough.
                assert kind != "sqlite" or tried.reader.check() == []
        for scan in scans.values():
            assert tried.writer.finish_scan(scan, [], EPOCH + timedelta(minutes=50)).status == "complete"
        tried.clock.now = EPOCH + timedelta(hours=1)
        return everything(tried)


@st.composite
def looks(draw: st.DrawFn, *, returning: bool) -> list[tuple[str, Observation]]:
    """Looks of two collectors at a few locations, each at an instant of its own, in order of time. Unless
    `returning`, a certificate that a location no longer serves never comes back to it."""
    count = draw(st.integers(1, 12))
    stages = dict.fromkeys(URIS, 0)
    result = []
    for second in range(count):
        uri = draw(st.sampled_from(URIS))
        if returning:
            chain = tuple(draw(st.lists(st.sampled_from(CERTIFICATES), max_size=3)))
        else:
            stages[uri] = min(stages[uri] + draw(st.integers(0, 1)), len(CERTIFICATES) - 1)
            chain = () if draw(st.integers(0, 4)) == 0 else (CERTIFICATES[stages[uri]],)
        # Without a chain: an error, or a place that has something else to show.
        error = (
            None
            if chain
            else draw(st.sampled_from([TIMEOUT, REFUSED, None] if returning else [TIMEOUT, REFUSED]))
        )
        facts: dict[str, Fact] = {"cipher": draw(st.sampled_from("ab")), "handshake_seconds": float(second)}
        result.append(
            (
                draw(st.sampled_from(COLLECTORS)),
                Observation(
                    location=LocationURI(uri),
                    observed_at=EPOCH + timedelta(seconds=second),
                    chain=chain,
                    error=error,
                    facts=facts,
                ),
            )
        )
    return result


def in_batches(draw: st.DrawFn, made: Sequence[Any]) -> list[list[Any]]:
    size = draw(st.integers(1, max(1, len(made))))
    return [list(made[start : start + size]) for start in range(0, len(made), size)]


@st.composite
def in_time_and_otherwise(draw: st.DrawFn) -> tuple[list[list[Any]], list[list[Any]]]:
    made = draw(looks(returning=True))
    # Of each location the looks keep their order: what differs is how they are cut, and what stands between.
    by_location = sorted(made, key=lambda each: each[1].location)
    one_by_one = [[each] for each in made]
    return in_batches(draw, by_location) if draw(st.booleans()) else in_batches(draw, made), one_by_one


@kinds
@quick
@given(cases=in_time_and_otherwise())
def test_how_looks_are_cut_into_batches_makes_no_difference(
    kind: str, cases: tuple[list[list[Any]], list[list[Any]]]
) -> None:
    batched, one_by_one = cases
    # One batch goes to the collectors one after the other: keep each location to one collector.
    batched = [[(COLLECTORS[URIS.index(look.location) % 2], look) for _, look in batch] for batch in batched]
    one_by_one = [
        [(COLLECTORS[URIS.index(look.location) % 2], look) for _, look in batch] for batch in one_by_one
    ]
    assert recorded(kind, batched) == recorded(kind, one_by_one)


@kinds
@quick
@given(made=looks(returning=False), random=st.randoms(use_true_random=False))
def test_any_order_ends_in_the_same_inventory(
    kind: str, made: list[tuple[str, Observation]], random: Any
) -> None:
    shuffled = list(made)
    random.shuffle(shuffled)
    note(f"shuffled: {[(c, o.location, o.observed_at.second) for c, o in shuffled]}")
    assert without_beginnings(recorded(kind, [[each] for each in shuffled])) == without_beginnings(
        recorded(kind, [[each] for each in made])
    )


def without_beginnings(outcome: dict[str, Any]) -> dict[str, Any]:
    """Since when a location fails is known only as far as its looks in between were kept."""
    return outcome | {
        "locations": {
            uri: replace(served, failing_since=served.failing_since and EPOCH)
            for uri, served in outcome["locations"].items()
        }
    }


@kinds
@quick
@given(made=looks(returning=True), random=st.randoms(use_true_random=False))
def test_any_order_ends_in_the_same_present_though_certificates_come_and_go(
    kind: str, made: list[tuple[str, Observation]], random: Any
) -> None:
    # Not every look is kept, so that the history of what came and went cannot be had in full from any order; what
    # is served now can.
    def present(outcome: dict[str, Any]) -> Any:
        return without_beginnings(outcome)["locations"], outcome["due"]

    shuffled = list(made)
    random.shuffle(shuffled)
    note(f"shuffled: {[(c, o.location, o.observed_at.second) for c, o in shuffled]}")
    assert present(recorded(kind, [[each] for each in shuffled])) == present(
        recorded(kind, [[each] for each in made])
    )


@kinds
@quick
@given(made=looks(returning=True), random=st.randoms(use_true_random=False))
def test_recording_again_what_was_recorded_changes_nothing(
    kind: str, made: list[tuple[str, Observation]], random: Any
) -> None:
    once = [[each] for each in made]
    again = once + random.sample(once, k=len(once))
    assert recorded(kind, again)["locations"] == recorded(kind, once)["locations"]
