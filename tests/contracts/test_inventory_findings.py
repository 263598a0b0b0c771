"""Every store: what must be judged, and the life of findings."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import FindingQuery, Judgement
from certwatch.model.finding import FindingID
from certwatch.model.location import LocationURI
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.inventories import STORES, Tried, fingerprint, opened, problem

FIRST = make_certificate()
SECOND = make_certificate(not_after=EPOCH + timedelta(days=150))
URI = "tls://203.0.113.7:443/?sni=www.example.com"
OTHER = "tls://203.0.113.8:443/"


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(inventory.look(OTHER, SECOND), inventory.look(URI, FIRST))
        yield inventory


def test_a_new_problem_opens_a_finding(tried: Tried) -> None:
    said = problem(certificate=FIRST)
    (finding,) = tried.settle(said, uri=URI, owner="payments").opened
    assert (finding.rule, finding.severity, finding.location) == ("expiry", "page", URI)
    assert finding.fingerprint == fingerprint(FIRST.der)
    assert (finding.summary, finding.text) == (said.problem.summary, said.problem.text)
    assert (finding.runbook, finding.owner) == ("docs/rules/expiry.md", "payments")
    assert (finding.opened_at, finding.resolved_at) == (tried.clock(), None)
    assert list(tried.reader.open_findings()) == [finding]
    assert tried.reader.finding(finding.id) == finding
    assert tried.reader.finding(FindingID(4711)) is None
    assert tried.served(URI).owner == "payments"
    assert tried.reader.counts().open_findings == {"page": 1}


def test_what_holds_on_stays_as_it_is(tried: Tried) -> None:
    (finding,) = tried.settle(problem(), uri=URI, due_at=tried.clock() + timedelta(hours=1)).opened
    tried.clock.advance(hours=2)
    settled = tried.settle(problem(), uri=URI)
    assert (settled.opened, settled.altered, settled.resolved) == ((), (), ())
    assert list(tried.reader.open_findings()) == [finding]


@pytest.mark.parametrize(
    "altered", [{"severity": "ticket"}, {"summary": "another"}, {"text": "another"}, {"owner": "another"}]
)
def test_what_is_said_otherwise_alters_the_finding(tried: Tried, altered: dict[str, str]) -> None:
    (finding,) = tried.settle(problem(), uri=URI, owner="payments", due_at=tried.clock()).opened
    tried.clock.advance(hours=2)
    # A copy: each store gets the same parameters.
    altered = dict(altered)
    owner = altered.pop("owner", "payments")
    settled = tried.settle(problem(**altered), uri=URI, owner=owner)  # type: ignore[arg-type]
    (after,) = settled.altered
    assert (settled.opened, settled.resolved) == ((), ())
    assert after == replace(finding, owner=owner, **altered)  # type: ignore[arg-type]
    assert list(tried.reader.open_findings()) == [after]


def test_what_is_said_no_more_is_resolved_and_opens_anew_later(tried: Tried) -> None:
    (finding,) = tried.settle(problem(), uri=URI, due_at=tried.clock()).opened
    resolved_at = tried.clock.advance(hours=1)
    assert tried.settle(uri=URI, due_at=tried.clock()).resolved == (
        replace(finding, resolved_at=resolved_at),
    )
    assert list(tried.reader.open_findings()) == []
    tried.clock.advance(hours=1)
    (again,) = tried.settle(problem(), uri=URI).opened
    assert again.id != finding.id
    assert len(list(tried.reader.findings(FindingQuery(all=True)))) == 2


def test_a_silent_rules_findings_stay_as_they_are(tried: Tried) -> None:
    (finding, _) = tried.settle(problem(), problem("weak-key"), uri=URI, due_at=tried.clock()).opened
    settled = tried.settle(
        problem(summary="half a word"), uri=URI, owner="another", silent=frozenset({"expiry"})
    )
    assert [each.rule for each in settled.resolved] == ["weak-key"]
    assert (settled.opened, settled.altered) == ((), ())
    assert list(tried.reader.open_findings()) == [finding]


def test_one_finding_for_each_rule_location_and_certificate(tried: Tried) -> None:
    settled = tried.settle(
        problem(severity="ticket", summary="less"),
        problem(summary="gravest"),
        problem(summary="as grave and second"),
        problem(certificate=FIRST),
        problem(certificate=SECOND),
        problem("weak-key"),
        uri=URI,
    )
    assert len(settled.opened) == 4
    assert settled.opened[0].summary == "gravest"


def test_a_judged_location_is_due_again_when_time_says(tried: Tried) -> None:
    at = tried.clock() + timedelta(days=3)
    tried.settle(uri=URI, due_at=at)
    tried.settle(uri=OTHER)
    assert tried.due() == []
    assert tried.reader.next_due() == at
    tried.clock.now = at
    assert tried.due() == [URI]
    tried.settle()
    assert (tried.due(), tried.reader.next_due()) == ([], None)


def test_a_location_that_changed_while_it_was_judged_stays_due(tried: Tried) -> None:
    (stale,) = [due for due in tried.reader.due(tried.clock(), 10) if due.served.location.uri == URI]
    tried.record(tried.look(URI, SECOND), tried.look(OTHER, SECOND))
    settled = tried.writer.settle(
        [
            Judgement(
                location_id=stale.served.id,
                revision=stale.revision,
                owner="",
                problems=(problem(),),
                due_at=None,
            )
        ],
        tried.clock(),
    )
    assert len(settled.opened) == 1, "the rules' word is taken all the same"
    assert URI in tried.due()


def test_longest_due_comes_first_and_as_many_as_asked(tried: Tried) -> None:
    tried.settle(uri=URI, due_at=tried.clock() + timedelta(hours=2))
    tried.settle(uri=OTHER, due_at=tried.clock() + timedelta(hours=1))
    tried.clock.advance(hours=3)
    assert tried.due() == [OTHER, URI]
    assert [due.served.location.uri for due in tried.reader.due(tried.clock(), 1)] == [OTHER]


def test_settling_what_is_not_there_changes_nothing(tried: Tried) -> None:
    judgement = Judgement(location_id=4711, revision=1, owner="", problems=(problem(),), due_at=None)
    assert tried.writer.settle([judgement], tried.clock()).opened == ()


def test_other_rules_make_everything_due(tried: Tried) -> None:
    assert tried.writer.require_judgement("rules-1")
    tried.settle()
    assert not tried.writer.require_judgement("rules-1")
    assert tried.due() == []
    stale = tried.writer.require_judgement("rules-2")
    assert stale
    assert sorted(tried.due()) == [URI, OTHER]


def test_a_judgement_by_the_former_rules_does_not_settle_what_the_new_ones_require(tried: Tried) -> None:
    tried.writer.require_judgement("rules-1")
    old = tried.reader.due(tried.clock(), 10)
    tried.writer.require_judgement("rules-2")
    tried.writer.settle(
        [
            Judgement(location_id=due.served.id, revision=due.revision, owner="", problems=(), due_at=None)
            for due in old
        ],
        tried.clock(),
    )
    assert sorted(tried.due()) == [URI, OTHER]


def test_findings_come_gravest_first_then_oldest_and_by_what_is_asked(tried: Tried) -> None:
    at = tried.clock()
    tried.settle(problem("b", severity="info"), problem("c", severity="page"), uri=URI, owner="a", due_at=at)
    tried.clock.advance(hours=1)
    tried.settle(
        problem("d", severity="page", certificate=SECOND),
        problem("e", severity="ticket"),
        uri=OTHER,
        owner="b",
    )

    def rules(**asked: object) -> list[str]:
        return [each.rule for each in tried.reader.findings(FindingQuery(**asked))]  # type: ignore[arg-type]

    assert rules() == ["c", "d", "e", "b"]
    assert rules(limit=2) == ["c", "d"]
    assert rules(severity="page") == ["c", "d"]
    assert rules(rule="e") == ["e"]
    assert rules(owner="a") == ["c", "b"]
    assert rules(location=LocationURI(OTHER)) == ["d", "e"]
    assert rules(fingerprint=fingerprint(SECOND.der)) == ["d"]
    tried.clock.advance(hours=1)
    tried.settle(problem("c", severity="page"), uri=URI, owner="a")
    assert rules() == ["c", "d", "e"]
    assert rules(all=True) == ["c", "d", "e", "b"]


def test_many_findings_stream(tried: Tried) -> None:
    said = [problem(f"rule-{n:04}") for n in range(1200)]
    tried.settle(*said, uri=URI)
    assert len(list(tried.reader.open_findings())) == 1200
    assert [each.rule for each in tried.reader.findings(FindingQuery())] == sorted(each.rule for each in said)
