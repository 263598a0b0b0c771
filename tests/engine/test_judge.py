from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from certwatch.engine.judge import MAX_SAID, MOST_TRUST_LABELS, RuleSet, judge
from certwatch.inventory.store import Due
from certwatch.model.finding import Problem
from certwatch.model.location import Location, LocationURI
from certwatch.model.sighting import Served
from certwatch.pki.trust import TrustStore
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH
from certwatch.telemetry.metrics import PLUGIN_FAILURES
from tests.engine.stage import make_rule

SERVED = Served(
    id=7,
    location=Location(uri=LocationURI("x://a"), labels={"team": "a"}),
    collectors=("edge",),
    chain=(),
    facts={},
    error=None,
    failing_since=None,
    first_seen=EPOCH,
    last_seen=EPOCH,
    last_served=None,
    retired_at=None,
    owner="before",
)
DUE = Due(served=SERVED, revision=3, changed=True)


def problem(summary: str = "wrong") -> Problem:
    return Problem(severity="ticket", fingerprint=None, summary=summary, text="Do something.")


def says(*said: Any) -> Any:
    return lambda served, config, world: said


def test_the_earliest_instant_of_all_rules_is_when_it_is_due_again() -> None:
    early, late = EPOCH + timedelta(hours=1), EPOCH + timedelta(days=1)
    rules = RuleSet(
        rules=(
            make_rule("a", says(Until(instant=late))),
            make_rule("b", says(problem(), Until(instant=early))),
        )
    )
    judgement, _ = judge(DUE, rules, EPOCH)
    assert judgement.due_at == early
    assert [each.rule for each in judgement.problems] == ["b"]
    assert judgement.problems[0].runbook == "docs/rules/b.md"
    assert (judgement.location_id, judgement.revision) == (7, 3)


def test_an_instant_that_is_not_after_now_cannot_keep_it_due_for_ever() -> None:
    rules = RuleSet(rules=(make_rule("a", says(Until(instant=EPOCH), Until(instant=EPOCH - timedelta(1)))),))
    assert judge(DUE, rules, EPOCH)[0].due_at is None


def test_a_rule_that_fails_is_silent_and_asked_again_and_the_others_are_heard() -> None:
    def broken(served: Served, config: Any, world: Any) -> Iterable[Problem]:
        yield problem("said before it failed")
        raise KeyError("oh")

    before = PLUGIN_FAILURES.labels("rules", "broken", "KeyError")._value.get()
    rules = RuleSet(rules=(make_rule("broken", broken), make_rule("good", says(problem()))))
    judgement, _ = judge(DUE, rules, EPOCH)
    assert judgement.silent == {"broken"}
    assert [each.rule for each in judgement.problems] == ["good"]
    assert judgement.due_at is not None
    assert EPOCH < judgement.due_at < EPOCH + timedelta(days=1)
    assert PLUGIN_FAILURES.labels("rules", "broken", "KeyError")._value.get() == before + 1


def test_a_rule_that_never_ends_or_says_something_else_fails() -> None:
    naive = Until(instant=datetime(2030, 1, 1))  # noqa: DTZ001
    for faulty in (
        lambda *_: (problem() for _ in count()),
        says(*[problem()] * (MAX_SAID + 1)),
        says("wrong"),
        says(naive),
        lambda *_: None,
    ):
        assert judge(DUE, RuleSet(rules=(make_rule("faulty", faulty),)), EPOCH)[0].silent == {"faulty"}


def test_a_rule_that_could_not_be_loaded_keeps_its_findings_without_being_asked_again() -> None:
    judgement, _ = judge(DUE, RuleSet(broken=frozenset({"gone"})), EPOCH)
    assert judgement.silent == {"gone"}
    assert judgement.due_at is None


def test_a_retired_location_has_no_problems() -> None:
    retired = replace(DUE, served=replace(SERVED, retired_at=EPOCH))
    rules = RuleSet(rules=(make_rule("a", says(problem())),), broken=frozenset({"gone"}))
    judgement, _ = judge(retired, rules, EPOCH)
    assert (judgement.problems, judgement.silent, judgement.due_at) == ((), frozenset(), None)


def test_rules_see_the_present_owner() -> None:
    seen: list[str] = []

    def look(served: Served, config: Any, world: Any) -> Iterable[Problem]:
        seen.append(served.owner)
        return ()

    rules = RuleSet(rules=(make_rule("a", look),), owner_of=lambda served: served.location.labels["team"])
    judgement, served = judge(DUE, rules, EPOCH)
    assert (judgement.owner, served.owner, seen) == ("a", "a", ["a"])


def test_owner_rules_that_fail_leave_the_owner_as_it_was() -> None:
    rules = RuleSet(owner_of=lambda served: served.location.labels["nothing"])
    assert judge(DUE, rules, EPOCH)[0].owner == "before"


def test_judging_reads_no_clock() -> None:
    source = Path(judge.__code__.co_filename).read_text()
    assert "datetime.now" not in source
    assert "import time" not in source


def test_a_rule_is_not_asked_about_kinds_of_places_that_do_not_concern_it() -> None:
    asked = make_rule("a", says(problem()))
    rules = RuleSet(rules=(replace(asked, rule=replace(asked.rule, kinds=frozenset(["tls"]))),))

    def said(uri: str) -> int:
        place = replace(SERVED, location=Location(uri=LocationURI(uri)))
        return len(judge(replace(DUE, served=place), rules, EPOCH)[0].problems)

    assert (said("tls://192.0.2.1:443/"), said("file:///a.pem")) == (1, 0)


def test_the_label_trust_names_the_stores_that_a_place_is_judged_by() -> None:
    """By collector, or by what the source itself says of a place."""
    corp, lab, public = (TrustStore.from_certificates(name, ()) for name in ("corp", "lab", "public"))
    seen: list[list[str]] = []

    def evaluate(served: Served, config: Any, world: World) -> list[Problem]:
        seen.append(list(world.trust))
        return []

    rules = RuleSet(rules=(make_rule("a", evaluate),), trust={"public": public, "corp": corp, "lab": lab})
    for labels in ({}, {"trust": "corp"}, {"trust": "lab, public"}, {"trust": "nobody"}, {"trust": "x,corp"}):
        judge(
            replace(DUE, served=replace(SERVED, location=replace(SERVED.location, labels=labels))),
            rules,
            EPOCH,
        )
    assert seen == [
        ["public", "corp", "lab"],
        ["corp"],
        ["public", "lab"],
        # No store of that name: all, as without the label.
        ["public", "corp", "lab"],
        ["corp"],
    ]


def test_labels_that_a_source_makes_up_are_not_all_remembered() -> None:
    rules = RuleSet(trust={"corp": TrustStore.from_certificates("corp", ())})
    for number in range(MOST_TRUST_LABELS + 10):
        rules.trust_at(Location(uri=SERVED.location.uri, labels={"trust": f"corp,{number}"}))
    assert len(rules._by_label) == MOST_TRUST_LABELS
