from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.config.remediation import FreezeKeys
from certwatch.model.certificate import Fingerprint
from certwatch.remediation.compromise import open_incident, scope_of
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.plan import Draft, DraftStep, Unplannable, begins
from certwatch.remediation.propose import propose, propose_one, take_up
from certwatch.x509.der import read
from tests.remediation.stage import CA, Stage, stage, with_keys
from tests.support.inventories import problem


def drafted(it: Stage) -> Draft:
    found = propose_one(it.affected(), [it.policy], for_findings=False)
    assert isinstance(found, Draft)
    return found


def test_a_place_that_no_deployer_takes_makes_the_whole_unplannable(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.tried.record(
            *[it.tried.look(uri, it.former, CA) for uri in it.files],
            it.tried.look(f"file://{it.folder}/0.pem", it.former, CA),
            it.tried.look("k8s://prod/web/secret/tls?key=tls.crt", it.former, CA),
        )
        found = propose_one(it.affected(), [it.policy], for_findings=False)
        assert isinstance(found, Unplannable)
        assert "k8s://prod/web/secret/tls" in found.why


def test_a_certificate_that_lies_nowhere_is_told_and_not_planned(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.tried.record(*[it.tried.look(uri, it.former, CA) for uri in it.files])
        found = propose_one(it.affected(), [it.policy], for_findings=False)
        assert isinstance(found, Unplannable)
        assert "no place is known where it lies" in found.why


def test_a_store_goes_behind_those_that_use_what_it_holds(tmp_path: Path) -> None:
    with stage(tmp_path, servers=2) as it:
        first, second = (f"file://{it.folder}/{each}.pem" for each in (0, 1))
        assert [each.target for each in drafted(it).steps if each.kind == "deploy"] == [first, second]
        used = it.tried.look(first, it.former, CA, facts={"in_use_by": second})
        it.tried.record(used, it.tried.look(second, it.former, CA))
        steps = drafted(it).steps
        assert [each.target for each in steps if each.kind == "deploy"] == [second, first]
        # The canary.
        assert next(each.target for each in steps if each.kind == "verify") == second


def test_findings_lead_to_one_plan_for_a_certificate(tmp_path: Path) -> None:
    with stage(tmp_path, servers=3, rules=["expiry"]) as it:
        it.tried.settle(problem("expiry", certificate=it.former), problem("weak-key", certificate=it.former))
        now = it.clock()
        drafts = propose(it.tried.reader, [it.policy], now)
        assert [(each.cause, each.title) for each in drafts] == [(("expiry",), "www.example.com")]
        assert len(list(take_up(it.book, drafts, [it.policy], now))) == 1
        # Something is being done about it already.
        assert list(take_up(it.book, drafts, [it.policy], now)) == []


def test_what_came_to_nothing_too_often_within_a_day_waits_for_a_person(tmp_path: Path) -> None:
    with stage(tmp_path, most_tries=2) as it:
        for _ in range(2):
            [id] = take_up(it.book, [drafted(it)], [it.policy], it.clock())
            it.book.turn(id, "failed", it.clock(), if_in=("approved",))
        assert list(take_up(it.book, [drafted(it)], [it.policy], it.clock())) == []
        it.clock.advance(days=1, seconds=1)
        assert len(list(take_up(it.book, [drafted(it)], [it.policy], it.clock()))) == 1


def test_more_names_than_before_need_a_person(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.policy = with_keys(it.policy, names=["dns:www.example.com", "dns:new.example.com"])
        assert (drafted(it).needed, "dns:new.example.com" in drafted(it).why) == (1, True)
        it.policy = with_keys(it.policy, names=["dns:www.example.com"])
        assert drafted(it).needed == 0


def test_a_compromised_key_is_revoked_in_the_end(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.tried.settle(problem("compromised", certificate=it.former))
        [draft] = propose(it.tried.reader, [it.policy], it.clock())
        assert isinstance(draft, Draft)
        assert draft.steps[-1].kind == "revoke"


def test_with_four_eyes_who_asks_does_not_approve(tmp_path: Path) -> None:
    with stage(tmp_path, approve="two") as it:
        plan = it.book.add(drafted(it), it.clock(), by="alice")
        assert plan is not None
        with pytest.raises(RemediationError, match="others must approve"):
            it.book.approve(plan.id, "alice", "mine", it.clock())
        assert it.book.approve(plan.id, "bob", "seen", it.clock()).state == "waiting"
        with pytest.raises(RemediationError, match="approved it already"):
            it.book.approve(plan.id, "bob", "again", it.clock())
        approved = it.book.approve(plan.id, "carol", "seen too", it.clock())
        assert (approved.state, [each.person for each in approved.approvals]) == (
            "approved",
            ["bob", "carol"],
        )
        assert it.book.withdraw_approval(plan.id, "bob", it.clock()).state == "waiting"
        with pytest.raises(RemediationError, match="has not approved"):
            it.book.withdraw_approval(plan.id, "bob", it.clock())
        assert it.book.approve(plan.id, "bob", "after all", it.clock()).state == "approved"
        with pytest.raises(RemediationError, match="waits for nobody"):
            it.book.approve(plan.id, "dave", "late", it.clock())


def test_on_frozen_days_nothing_is_begun(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        frozen = FreezeKeys.model_validate({"from": date(2026, 11, 1), "until": date(2026, 11, 2)})
        policy = replace(it.policy, keys=it.policy.keys.model_copy(update={"freeze": [frozen]}))
        assert policy.frozen_at(it.clock())
        assert not policy.frozen_at(it.clock() + timedelta(days=2))


@pytest.mark.parametrize("label", [None, ("environment", "staging"), ("environment", "prod")])
def test_of_a_compromised_ca_everything_that_it_issued_is_affected(tmp_path: Path, label: Any) -> None:
    with stage(tmp_path, servers=2) as it:
        scope = scope_of(it.tried.reader, read(CA.der), it.clock(), label=label)
        wanted = [] if label == ("environment", "prod") else [it.former.der]
        assert [each.certificate.der for each in scope.affected] == wanted


async def _carry(it: Stage, plan: int) -> None:
    assert (await it.carry_out(it.book.plan(plan))).state == "verified"


@pytest.mark.anyio
async def test_an_incident_lasts_until_the_last_place_serves_another_certificate(tmp_path: Path) -> None:
    with stage(tmp_path, approve="automatic") as it:
        scope = scope_of(it.tried.reader, read(it.former.der), it.clock())
        incident, plans, left = open_incident(
            it.book, scope, [it.policy], it.clock(), by="alice", why="leaked", drill=False
        )
        assert (len(plans), left) == (1, [])
        [opened] = it.book.incidents()
        assert (opened.id, opened.ended) == (incident, None)
        it.clock.advance(minutes=7)
        await _carry(it, plans[0])
        [ended] = it.book.incidents()
        assert ended.ended is not None
        assert ended.ended - ended.at == timedelta(minutes=7)
        assert it.book.plan(plans[0]).incident == incident


def test_an_incident_that_affects_nothing_is_over_at_once(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        scope = scope_of(it.tried.reader, read(CA.der), it.clock(), label=("environment", "none"))
        open_incident(it.book, scope, [it.policy], it.clock(), by="alice", why="drill", drill=True)
        [incident] = it.book.incidents()
        assert (incident.drill, incident.ended) == (True, it.clock())


def test_what_was_issued_together_is_not_renewed_together(tmp_path: Path) -> None:
    spread = timedelta(hours=24)
    with stage(tmp_path, spread="24h") as it:
        now = it.clock()
        one = replace(drafted(it), cause=("expiry",))
        drafts = [replace(one, former=Fingerprint(bytes([number]) * 32)) for number in range(0, 250, 10)]
        times = [begins(each, spread, now) for each in drafts]
        assert all(each is not None and now <= each < now + spread for each in times)
        assert len(set(times)) == len(times)
        assert times == [begins(each, spread, now) for each in drafts]
        # What cannot wait does not.
        assert begins(replace(one, cause=("compromised", "expiry")), spread, now) is None
        assert begins(replace(one, drill=True), spread, now) is None
        assert begins(replace(one, not_after=now + timedelta(hours=47)), spread, now) is None
        [id] = take_up(it.book, [one], [it.policy], now)
        assert it.book.plan(id).not_before_try == begins(one, spread, now)


def test_what_was_replaced_just_now_is_not_planned_again_before_collectors_have_seen_it(
    tmp_path: Path,
) -> None:
    """Its finding is open until they look again: a second roll-out would find another certificate there, and page."""
    with stage(tmp_path) as it:
        [id] = take_up(it.book, [drafted(it)], [it.policy], it.clock())
        it.book.turn(id, "verified", it.clock(), if_in=("approved",))
        it.clock.advance(minutes=59)
        assert list(take_up(it.book, [drafted(it)], [it.policy], it.clock())) == []
        # There again later: somebody has put it back.
        it.clock.advance(minutes=2)
        assert len(list(take_up(it.book, [drafted(it)], [it.policy], it.clock()))) == 1


def test_where_it_turns_up_beside_what_was_replaced_it_is_planned_at_once(tmp_path: Path) -> None:
    """A host that was away and came back with it: for an hour, nobody cared."""
    with stage(tmp_path) as it:
        [id] = take_up(it.book, [drafted(it)], [it.policy], it.clock())
        it.book.turn(id, "verified", it.clock(), if_in=("approved",))
        late = DraftStep(kind="deploy", target=f"file://{it.folder}/late.pem")
        # Not yet: what is known of the other places may be old.
        both = replace(drafted(it), steps=(*drafted(it).steps, late))
        assert list(take_up(it.book, [both], [it.policy], it.clock())) == []
        alone = replace(drafted(it), served=(), steps=(late,))
        assert len(list(take_up(it.book, [alone], [it.policy], it.clock()))) == 1
