import asyncio
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.engine import batches, evaluate
from certwatch.engine.judge import RuleSet
from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.model.silence import Matter, Silence, SilenceID
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.engine.stage import EXPIRY, LEAD, Stage, make_rule, stage

pytestmark = pytest.mark.anyio

GOOD = make_certificate(not_after=EPOCH + timedelta(days=60))


@pytest.fixture(autouse=True)
def quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_SECONDS", 0.01)


async def test_a_round_with_nothing_changed_judges_nothing_and_tells_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", GOOD)
        assert await life.scan_and_judge() == ["changed x://a/", "scan edge complete"]
        assert await life.evaluator.round() == 0
        assert await life.scan_and_judge() == ["scan edge complete"]


async def test_it_is_due_when_the_rule_said_that_its_answer_changes(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", GOOD)
        await life.scan_and_judge()
        assert life.next_due() == GOOD.certificate.not_valid_after_utc - LEAD
        life.clock.now = GOOD.certificate.not_valid_after_utc - LEAD
        # By time alone: the location is judged, and not told as changed.
        assert await life.judge() == ["opened expiry x://a/"]
        assert life.next_due() is None


async def test_many_pages_are_one_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "PAGE", 3)
    async with stage(tmp_path) as life:
        for number in range(10):
            life.source.serve(f"x://{number}/", GOOD)
        await life.scan()
        assert await life.evaluator.round() == 10


async def test_a_slow_page_is_settled_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "PAGE_SECONDS", 0.0)
    async with stage(tmp_path) as life:
        for number in range(3):
            life.source.serve(f"x://{number}/", GOOD)
        await life.scan()
        assert await life.evaluator.round() == 3
        await life.publisher.drained()
        assert [len(news.changed) for news in life.exporter.news] == [1, 1, 1, 0]


async def test_other_rules_judge_everything_anew_and_their_absence_resolves(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=3)))
        await life.scan_and_judge()
        assert set(life.findings()) == {"expiry x://a/"}

        life.evaluator.use(RuleSet(rules=(), digest="none"))
        assert await life.judge() == ["resolved expiry x://a/"]
        life.evaluator.use(RuleSet(rules=(EXPIRY,), digest="first"))
        assert await life.judge() == ["opened expiry x://a/"]
        # The same again: nothing is judged.
        life.evaluator.use(RuleSet(rules=(EXPIRY,), digest="first"))
        assert await life.judge() == []


async def test_a_new_owner_alters_findings_and_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=3)))
        await life.scan_and_judge()
        life.evaluator.use(RuleSet(rules=(EXPIRY,), owner_of=lambda served: "payments", digest="owners"))
        assert await life.judge() == ["changed x://a/", "altered expiry x://a/"]
        assert life.served("x://a/").owner == "payments"


async def test_a_rule_that_fails_keeps_its_findings_open(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=3)))
        await life.scan_and_judge()

        def broken(served: Served, config: Any, world: Any) -> Iterable[Problem]:
            raise RuntimeError("oh")

        life.evaluator.use(RuleSet(rules=(make_rule("expiry", broken),), digest="broken"))
        assert await life.judge() == []
        assert set(life.findings()) == {"expiry x://a/"}


async def test_the_task_judges_when_it_is_woken_and_stops_when_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        task = asyncio.create_task(life.evaluator.run())
        life.source.serve("x://a/", GOOD)
        await life.scan()
        await told(life, "scan edge complete")
        assert life.exporter.told[0] == "changed x://a/"
        assert life.evaluator.done_once
        life.evaluator.stop()
        await task


async def test_the_task_wakes_by_itself_when_something_is_due(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        # Real seconds pass here, few of them; the certificate's lead begins at once by the stage's clock.
        life.source.serve(
            "x://a/", make_certificate(not_after=EPOCH + LEAD + timedelta(seconds=1), key_number=3)
        )
        await life.scan()
        task = asyncio.create_task(life.evaluator.run())
        await told(life, "scan edge complete")
        life.clock.now = EPOCH + timedelta(seconds=2)
        await told(life, "opened expiry x://a/")
        life.evaluator.stop()
        await task


async def test_an_inventory_that_refuses_is_tried_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", GOOD)
        await life.scan()
        (tmp_path / "inventory.db").rename(tmp_path / "away.db")
        task = asyncio.create_task(life.evaluator.run())
        await until(lambda: life.evaluator.failure is not None)
        assert "inventory.db" in str(life.evaluator.failure)
        (tmp_path / "away.db").rename(tmp_path / "inventory.db")
        await told(life, "scan edge complete")
        await until(lambda: life.evaluator.failure is None)
        life.evaluator.stop()
        await task


async def test_what_changes_while_it_is_judged_stays_due(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", GOOD)
        await life.scan()
        judged = life.evaluator._judge(RuleSet(rules=(EXPIRY,)))
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=1), key_number=4))
        life.clock.advance(minutes=1)
        await life.scan()
        await life.writer.call(lambda it: it.settle([judgement for judgement, _, _ in judged], life.clock()))
        await life.judge()
        assert set(life.findings()) == {"expiry x://a/"}


async def test_rules_changed_in_the_middle_of_a_round_judge_the_rest(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=1)))
        await life.scan()

        def meanwhile(served: Served, config: Any, world: Any) -> Iterable[Problem]:
            life.evaluator._rules, life.evaluator._required = (
                RuleSet(rules=(EXPIRY,), digest="second"),
                False,
            )
            return [Problem(severity="page", fingerprint=None, summary="by the old rules", text="-")]

        life.evaluator.use(RuleSet(rules=(make_rule("old", meanwhile),), digest="old"))
        await life.judge()
        assert set(life.findings()) == {"expiry x://a/"}


async def until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the engine's own tasks tell nobody
            await asyncio.sleep(0.001)


async def told(life: Stage, line: str) -> None:
    await until(lambda: line in life.exporter.told)


def silence(life: Stage, covers: Matter | str, hours: float = 1) -> Silence:
    now = life.clock()
    return life.store.silence(
        Silence(
            id=SilenceID(0),
            covers=covers,
            until=now + timedelta(hours=hours),
            author="ada",
            reason="known",
            created_at=now,
        )
    )


async def test_a_silence_is_noticed_in_the_next_round_and_its_end_when_it_comes(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=3)))
        await life.scan_and_judge()
        taken = silence(life, 'finding.rule == "expiry"')
        assert await life.judge() == ["altered expiry x://a/"]
        assert [each.silence for each in life.view.open_findings()] == [taken]
        assert life.next_due() == taken.until
        life.clock.now = taken.until
        assert await life.judge() == ["altered expiry x://a/"]
        assert [each.silence for each in life.view.open_findings()] == [None]


async def test_one_that_is_ended_early_is_noticed(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(hours=3)))
        await life.scan_and_judge()
        (finding,) = life.view.open_findings()
        matter = Matter(rule="expiry", location=finding.location, fingerprint=finding.fingerprint)
        taken = silence(life, matter)
        await life.judge()
        life.store.end_silence(taken.id, life.clock())
        assert await life.judge() == ["altered expiry x://a/"]


async def test_a_matter_that_was_resolved_and_opens_again_is_still_silenced(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        dying = make_certificate(not_after=EPOCH + timedelta(hours=3))
        life.source.serve("x://a/", dying)
        await life.scan_and_judge()
        (finding,) = life.view.open_findings()
        silence(life, Matter(rule="expiry", location=finding.location, fingerprint=finding.fingerprint))
        await life.judge()
        life.source.serve("x://a/", GOOD)
        await life.scan_and_judge()
        life.source.serve("x://a/", dying)
        await life.scan_and_judge()
        (again,) = life.view.open_findings()
        assert again.id != finding.id
        assert not again.is_told
