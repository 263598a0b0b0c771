"""Where a look that comes late belongs in the history of its location."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from certwatch.inventory.spans import Span, with_late_look


def span(certificate: int, first: int, last: int, ended: int | None, position: int = 0) -> Span:
    return Span(position=position, certificate=certificate, first_seen=first, last_seen=last, ended_at=ended)


def late(spans: list[Span], chain: list[int], at: int, last_served: int = 90) -> list[Span]:
    result = with_late_look(spans, chain, at, last_served)
    return sorted(result, key=lambda each: (each.position, each.first_seen, each.certificate))


LASTING = span(2, 50, 90, None)


def test_within_a_span_of_the_same_certificate_nothing_changes() -> None:
    assert late([LASTING], [2], 70) == [LASTING]


def test_before_everything_known_it_is_a_span_of_its_own() -> None:
    assert late([LASTING], [1], 20) == [span(1, 20, 20, 50), LASTING]


def test_the_same_certificate_earlier_begins_the_span_earlier() -> None:
    assert late([LASTING], [2], 20) == [span(2, 20, 90, None)]


def test_a_span_is_not_begun_earlier_across_another_certificate() -> None:
    between = span(1, 30, 30, 50)
    assert late([between, LASTING], [2], 20) == [span(2, 20, 20, 30), between, LASTING]


def test_an_ended_span_lasts_longer_if_its_end_was_not_yet_seen() -> None:
    assert late([span(1, 10, 20, 50), LASTING], [1], 40) == [span(1, 10, 40, 50), LASTING]


def test_an_end_is_seen_earlier() -> None:
    assert late([span(1, 10, 20, 50), LASTING], [2], 30) == [span(1, 10, 20, 30), span(2, 30, 90, None)]


def test_a_certificate_in_between_ends_the_one_before() -> None:
    assert late([span(1, 10, 20, 50), LASTING], [3], 30) == [
        span(1, 10, 20, 30),
        span(3, 30, 30, 50),
        LASTING,
    ]


def test_spans_that_turn_out_to_be_one_are_joined() -> None:
    # Two looks at 1 at 10 and 40; that it was ended at 45 was seen by a look that found the chain shorter.
    first, second = span(1, 10, 10, 45), span(1, 40, 40, 45)
    assert late([first, second, LASTING], [1], 20) == [span(1, 10, 40, 45), LASTING]


def test_a_shorter_chain_ends_what_stood_beyond_it() -> None:
    above = span(9, 10, 20, 60, position=1)
    assert late([span(2, 10, 90, None), above], [2], 30) == [
        span(2, 10, 90, None),
        span(9, 10, 20, 30, position=1),
    ]


def test_beyond_the_present_chain_it_ended_at_the_latest_when_that_was_seen() -> None:
    assert late([LASTING], [2, 9], 70) == [LASTING, span(9, 70, 70, 90, position=1)]


def test_what_was_seen_on_both_sides_of_it_stays_one_span() -> None:
    assert late([LASTING], [1], 70) == [LASTING, span(1, 70, 70, 90)]


@given(
    looks=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    order=st.permutations(range(12)),
)
def test_any_order_gives_the_spans_of_time_if_nothing_comes_back(looks: list[int], order: list[int]) -> None:
    looks = sorted(looks)
    last = len(looks) - 1
    spans = [span(looks[last], last, last, None)]
    for at in order:
        if at < last:
            spans = with_late_look(spans, [looks[at]], at, last)
    expected = []
    starts = [at for at in range(len(looks)) if at == 0 or looks[at] != looks[at - 1]]
    for start, end in pairwise([*starts, last + 1]):
        expected.append(span(looks[start], start, end - 1, end if end <= last else None))
    assert sorted(spans, key=lambda each: each.first_seen) == expected


@given(
    looks=st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=10),
    order=st.permutations(range(10)),
)
def test_whatever_comes_instants_stay_in_order_and_nothing_is_opened(
    looks: list[list[int]], order: list[int]
) -> None:
    last = len(looks) - 1
    spans = [span(each, last, last, None, position) for position, each in enumerate(looks[last])]
    lasting = [(each.position, each.certificate) for each in spans]
    for at in order:
        if at < last:
            spans = with_late_look(spans, looks[at], at, last)
    for each in spans:
        assert each.first_seen <= each.last_seen <= last
        assert each.ended_at is None or each.last_seen <= each.ended_at <= last
    assert sorted((each.position, each.certificate) for each in spans if each.ended_at is None) == lasting
    keys = [(each.position, each.first_seen, each.certificate) for each in spans]
    assert len(keys) == len(set(keys)), "they are the table's primary key"
    for at in range(last):
        for position, certificate in enumerate(looks[at]):
            assert any(
                each.position == position
                and each.certificate == certificate
                and each.first_seen <= at <= each.last_seen
                for each in spans
            ), f"the look at {at} is in no span"
