"""What several processes share: parts of a plan that are all of it together, and do not overlap."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.collector import CollectorContext, Part
from certwatch.plugins.testing import EPOCH
from collectors.tls import TLSCollector, TLSConfig
from collectors.tls.plan import Plan
from collectors.tls.targets import parse

TARGETS = [
    "www.example.com",
    "mx.example.com:25/smtp",
    "10.0.0.7:443",
    "10.0.0.0/28:443,8443",
    "10.0.0.8/29:443",
    "2001:db8::/124",
]


def walked(plan: Plan) -> list[tuple[str, int, str | None, str | None]]:
    return [(each.host, each.port, each.target.protocol, each.server_name) for each in plan.endpoints()]


@given(count=st.integers(1, 40), seeds=st.lists(st.integers(0, 2**64 - 1), min_size=40, max_size=40))
def test_all_parts_together_are_the_whole_and_none_looks_at_what_another_does(
    count: int, seeds: list[int]
) -> None:
    targets = [parse(text) for text in TARGETS]
    excluded = [parse("10.0.0.3")]
    plans = [
        Plan(targets, excluded, None, seed=seed, part=Part(index=index, count=count))
        for index, seed in zip(range(count), seeds, strict=False)
    ]
    whole = Plan(targets, excluded, None)
    together = [endpoint for plan in plans for endpoint in walked(plan)]
    assert Counter(together) == Counter(walked(whole))
    assert sum(plan.total for plan in plans) == whole.total
    assert all(plan.is_walked and not plan.remaining() for plan in plans)


@given(count=st.integers(1, 12), changed_at=st.integers(0, 12))
def test_a_list_that_changes_between_two_parts_hides_nothing_of_what_stands_in_both(
    count: int, changed_at: int
) -> None:
    # Endpoints were divided by their number among those of all networks. One network more in a list, and the parts that were
    # walked later began to count elsewhere: what none of them had looked at was retired.
    written = [parse(text) for text in TARGETS]
    stays = [parse("10.9.0.0/29:443"), parse("www.example.net")]
    comes = [parse("10.0.0.0/27:443"), parse("10.5.0.0/30:443"), parse("10.0.0.9:9443")]
    excluded = [parse("10.0.0.3")]
    together = Counter(
        endpoint
        for index in range(count)
        for endpoint in walked(
            Plan(
                [*written, *(comes if index >= changed_at else []), *stays],
                excluded,
                None,
                part=Part(index=index, count=count),
                fixed=len(written),
            )
        )
    )
    whole = Counter(walked(Plan([*written, *stays], excluded, None)))
    assert {each: together[each] for each in whole} == whole


def test_what_a_part_has_not_walked_is_its_own_alone() -> None:
    targets = [parse(text) for text in TARGETS]
    parts = [Plan(targets, [], None, part=Part(index=index, count=3)) for index in range(3)]
    remaining = [{each.text for each in plan.remaining() if not each.is_wide} for plan in parts]
    assert set.union(*remaining) == {"www.example.com", "mx.example.com:25/smtp", "10.0.0.7:443"}
    assert sum(map(len, remaining)) == 3


def test_targets_are_divided_by_their_number() -> None:
    collector = TLSCollector(
        "edge", TLSConfig(targets=["10.0.0.0/24", "www.example.com"]), CollectorContext(clock=lambda: EPOCH)
    )
    assert collector.parts(100) == 3
    assert collector.parts(1000) == 1
