"""What the parts of a scan say together."""

from hypothesis import given
from hypothesis import strategies as st

from certwatch.engine.counted import Counted
from certwatch.engine.listen import Heard
from certwatch.inventory.shards import Ended
from certwatch.model.observation import Incomplete, LookError
from certwatch.plugins.testing import EPOCH
from certwatch.zones.outcome import (
    MAX_INCOMPLETE,
    Fault,
    Outcome,
    Targets,
    decode,
    encode,
    failure,
    outcome_of,
    together,
)

REFUSED = LookError(kind="permission", message="edge: the key may not be read")
FAILED = failure(REFUSED)


def ended(*outcomes: Outcome | None, workers: list[int] | None = None) -> list[Ended]:
    return [
        Ended(
            part=part,
            parts=len(outcomes),
            worker=None if outcome is None else workers[part] if workers else 1,
            outcome=None if outcome is None else encode(outcome),
        )
        for part, outcome in enumerate(outcomes)
    ]


def scopes(incomplete: list[Incomplete]) -> list[str]:
    return [each.scope for each in incomplete]


def test_a_failed_part_leaves_everything_as_it_is() -> None:
    told = together(ended(Outcome(outcomes={"ok": 3}), FAILED, Outcome(outcomes={"ok": 2, "timeout": 1})))
    assert told.failed is None
    (said,) = told.incomplete
    assert (said.scope, said.error.message) == ("", "part 2 of 3: edge: the key may not be read")
    assert told.counted.outcomes == {"ok": 5, "timeout": 1}
    assert told.parts == {"complete": 2, "failed": 1}


def test_a_scan_whose_every_part_failed_has_failed() -> None:
    told = together(ended(FAILED, FAILED))
    assert told.failed == LookError(kind="permission", message="part 1 of 2: edge: the key may not be read")
    assert told.incomplete == []
    assert together(ended(FAILED)).failed == REFUSED


def test_a_part_that_nobody_ended_leaves_everything_as_it_is() -> None:
    told = together(ended(Outcome(), None))
    assert scopes(told.incomplete) == [""]
    assert "every worker that took it fell silent" in told.incomplete[0].error.message
    assert told.parts == {"complete": 1, "lost": 1}


def test_a_scan_of_which_the_database_lost_parts_has_failed() -> None:
    for left in ([], ended(Outcome(), Outcome())[1:]):
        told = together(left)
        assert told.failed is not None
        assert "the database has lost parts of it" in told.failed.message


def test_a_part_that_cannot_be_read_counts_as_failed() -> None:
    told = together(
        [Ended(part=0, parts=2, worker=1, outcome='{"what":1}'), *ended(Outcome(), Outcome())[1:]]
    )
    assert scopes(told.incomplete) == [""]
    assert told.parts["failed"] == 1


def test_each_scope_is_incomplete_once_whoever_says_so() -> None:
    one = Outcome(
        incomplete=[Fault(kind="dns", message="first", scope="list"), Fault(kind="dns", message="x")]
    )
    two = Outcome(incomplete=[Fault(kind="timeout", message="second", scope="list")])
    told = together(ended(one, two))
    assert [(each.scope, each.error.message) for each in told.incomplete] == [("list", "first"), ("", "x")]


def test_targets_of_all_parts_are_added_up() -> None:
    told = together(
        ended(
            Outcome(targets={"dns": Targets(expected=3, seen=2)}),
            Outcome(targets={"dns": Targets(expected=4, seen=4), "targets": Targets(expected=1, seen=0)}),
        )
    )
    assert told.targets == {"dns": Targets(expected=7, seen=6), "targets": Targets(expected=1, seen=0)}


def test_a_part_in_which_nobody_is_met_is_an_empty_one_if_its_worker_met_somebody_elsewhere() -> None:
    dark, light = Outcome(unchanged=["10.0.0.0/16"]), Outcome(outcomes={"ok": 1})
    assert together(ended(dark, light, dark, workers=[1, 1, 1])).unchanged == set()


def test_what_a_worker_without_a_way_out_looked_at_stays_as_it_is() -> None:
    dark, light = Outcome(unchanged=["10.0.0.0/16"]), Outcome(outcomes={"ok": 1})
    assert together(ended(dark, light, dark, workers=[1, 2, 1])).unchanged == {"10.0.0.0/16"}
    assert together(ended(dark)).unchanged == {"10.0.0.0/16"}


def test_a_way_that_spans_scans_is_only_one_of_an_undivided_scan() -> None:
    way = Outcome(continued={"10.0.0.0/16": EPOCH})
    told = together(ended(way))
    assert (told.continued, told.unchanged) == ({"10.0.0.0/16": EPOCH}, set())
    told = together(ended(way, Outcome()))
    assert (told.continued, told.unchanged) == ({}, {"10.0.0.0/16"})


def test_more_incomplete_scopes_than_are_told_are_everything() -> None:
    heard = Heard()
    heard.incomplete = [Incomplete(scope=str(number), error=REFUSED) for number in range(MAX_INCOMPLETE + 1)]
    outcome = outcome_of(heard, Counted(), {}, 1)
    assert len(outcome.incomplete) == MAX_INCOMPLETE + 1
    assert outcome.incomplete[-1].scope == ""


@given(
    message=st.text(st.characters()),
    scope=st.text(st.characters()),
    seconds=st.lists(st.floats(0, 1e3)),
)
def test_what_is_said_is_read_again(message: str, scope: str, seconds: list[float]) -> None:
    heard = Heard()
    heard.failed = LookError(kind="other", message=message)
    heard.incomplete = [Incomplete(scope=scope, error=heard.failed)]
    outcome = outcome_of(heard, Counted(handshakes=seconds), {}, 1)
    assert decode(encode(outcome)) == outcome
