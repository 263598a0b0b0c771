"""People, other programs and bad luck in the middle of a roll-out: it ends verified or rolled back, and does what was said."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.mark import Mark, MarkID
from certwatch.plugins.issuer import IssueFailed
from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.remediation.book import Book
from certwatch.remediation.compromise import open_incident, scope_of
from certwatch.remediation.deployers.files import FilesDeployer
from certwatch.remediation.deployers.replaced import kept_beside
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.issue import MORE_ORDERS
from certwatch.remediation.records import Plan
from certwatch.remediation.running import Remediation
from certwatch.x509.der import read
from tests.remediation.stage import CA, WWW, Crash, Stage, stage, with_keys
from tests.remediation.test_apply import STEPS
from tests.support.remediation import material, target

pytestmark = pytest.mark.anyio
#: Of a crash in a roll-out that goes well, and of one that comes back.
FORWARD_STEPS = (*STEPS, "revoke-begun", "revoke-done")
BACK_STEPS = ("rolling-back", "undone")


def back(it: Stage, plan: Plan) -> Callable[[], bool]:
    """As `certwatch remediate rollback` says it, from another process."""
    return lambda: it.book.turn(
        plan.id, "rolling-back", it.clock(), if_in=("running", "verifying"), why="by alice"
    )


async def test_the_steps_that_tests_crash_at_are_all_that_there_are(tmp_path: Path) -> None:
    with stage(tmp_path, servers=2, revoke=True) as it:
        await it.carry_out(it.plan())
        assert set(it.steps) == set(FORWARD_STEPS)
        it.steps.clear()
        it.tried.record(
            *[it.tried.look(uri, it.former, CA) for uri in it.files],
            *[it.tried.look(f"file://{path}", it.former, CA) for path in it.files.values()],
        )
        for path in it.files.values():
            path.write_bytes(it.former.pem)
            path.with_suffix(".key").write_bytes(it.former.key_pem)
        it.stuck = dict.fromkeys(it.files, it.former.pem)
        await it.carry_out(it.plan())
        assert set(it.steps) - set(FORWARD_STEPS) == set(BACK_STEPS)


@pytest.mark.parametrize("step", ["issue-begun", "issue-done", "deploy-begun", "put", "deploy-done", "verify-begun", "verify-done"])  # fmt: skip
async def test_what_a_person_wants_back_comes_back_from_every_step(tmp_path: Path, step: str) -> None:
    """The roll-out went on as if nothing had been said, and ended verified."""
    with stage(tmp_path, servers=2) as it:
        before = {each: each.read_bytes() for each in it.folder.iterdir()}
        plan = it.plan()
        it.meanwhile[step] = back(it, plan)
        done = await it.carry_out(plan)
        assert (done.state, done.why) == ("rolled-back", "by alice")
        assert {each: each.read_bytes() for each in it.folder.iterdir()} == before


async def test_who_wants_it_back_need_not_wait_until_places_are_given_up(tmp_path: Path) -> None:
    with stage(tmp_path, verify={"within": "10m"}) as it:
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        plan = it.plan()
        it.meanwhile["look"] = lambda: it.meanwhile.update(look=back(it, plan))
        assert (await it.carry_out(plan)).state == "rolled-back"


async def test_after_the_former_one_is_revoked_it_is_not_put_back(tmp_path: Path) -> None:
    with stage(tmp_path, revoke=True) as it:
        plan = it.plan()
        it.meanwhile["revoke-done"] = back(it, plan)
        done = await it.carry_out(plan)
        assert (done.state, "of no use any more" in done.why) == ("failed", True)
        assert it.former.der not in it.leaves()


@pytest.mark.parametrize("step", ["issue-begun", "put", "verify-begun"])
async def test_an_approval_that_is_withdrawn_in_the_middle_brings_the_former_one_back(
    tmp_path: Path, step: str
) -> None:
    with stage(tmp_path, approve="one") as it:
        plan = it.plan()
        it.book.approve(plan.id, "bob", "seen", it.clock())
        it.meanwhile[step] = lambda: it.book.withdraw_approval(plan.id, "bob", it.clock())
        done = await it.carry_out(plan)
        assert (done.state, done.why) == ("rolled-back", "bob has withdrawn the approval")
        assert it.leaves() == {it.former.der}
        with pytest.raises(RemediationError, match="is rolled-back: no approval counts any more"):
            it.book.withdraw_approval(plan.id, "bob", it.clock())


async def test_an_approval_withdrawn_before_it_begins_begins_nothing(tmp_path: Path) -> None:
    with stage(tmp_path, approve="one") as it:
        plan = it.plan()
        it.book.approve(plan.id, "bob", "seen", it.clock())
        it.book.withdraw_approval(plan.id, "bob", it.clock())
        assert (await it.carry_out(plan)).state == "waiting"
        assert it.issuer.issued == []


async def test_what_was_put_back_and_is_not_served_is_no_roll_back(tmp_path: Path) -> None:
    """Its reload says that all is well, and the server goes on with the new one: somebody must look."""
    with stage(tmp_path, verify={"within": "0.4s", "health": ["false"]}) as it:
        [uri] = it.files
        it.meanwhile["rolling-back"] = lambda: it.stuck.update({uri: it.files[uri].read_bytes()})
        done = await it.carry_out(it.plan())
        assert (done.state, "was put back, and is not seen" in done.why) == ("failed", True)
        assert it.files[uri].read_bytes() == it.former.pem


async def test_a_row_of_crashes_is_no_row_of_orders(tmp_path: Path) -> None:
    with stage(tmp_path, most_tries=2) as it:
        plan = it.plan()
        for _ in range(20):
            it.crash_at = "issue-done"
            try:
                done = await it.carry_out(plan)
                break
            except Crash:
                continue
        assert (done.state, "asked for already" in done.why) == ("failed", True)
        assert len(it.issuer.issued) == 2 + MORE_ORDERS
        assert it.leaves() == {it.former.der}


async def test_a_plug_in_that_breaks_ends_its_roll_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with stage(tmp_path, servers=2) as it:
        monkeypatch.setattr(FilesDeployer, "activate", broken)
        done = await it.carry_out(it.plan())
        assert done.state == "failed"
        assert "ZeroDivisionError: a bug" in done.why
        assert it.leaves() == {it.former.der}


async def test_an_issuer_that_breaks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(tmp_path) as it:
        it.issuer.failures = [ZeroDivisionError("a bug")]  # type: ignore[list-item]
        done = await it.carry_out(it.plan())
        assert (done.state, done.why) == ("failed", "issue: ZeroDivisionError: a bug")
        assert it.leaves() == {it.former.der}


async def test_what_another_roll_out_keeps_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    """Two certificates in one place, one after the other: whose plan waited too long found what the second had kept there,
    and dropped it, so that the second could not go back."""
    with stage(tmp_path) as it:
        path = it.folder / "0.pem"
        uri = f"file://{path}"
        second, third = (make_certificate(names=[WWW], issuer=CA, key_number=number) for number in (505, 506))
        path.write_bytes(second.pem)
        (it.folder / "0.key").write_bytes(second.key_pem)
        [deployer] = it.policy.deployers
        await deployer.deploy(target(uri, second), material(third))
        kept = kept_beside(path).read_bytes()
        done = await it.carry_out(it.plan())
        assert done.state == "rolled-back"
        assert (kept_beside(path).read_bytes(), path.read_bytes()) == (kept, third.chain_pem)
        await deployer.undo(target(uri, second))
        assert path.read_bytes() == second.pem


async def test_places_and_services_that_are_in_hand_are_waited_for(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.policy = with_keys(it.policy, service="environment")
        first = it.plan()
        running = Remediation(it.world(), [it.policy], every=timedelta(minutes=1), at_once=5)
        assert first.service == "staging"
        assert await running._may_begin(first, it.clock(), ())
        from certwatch.remediation.running import _Carried

        class Nothing:
            def cancel(self) -> None:
                return

        running._tasks[99] = _Carried(Nothing(), first)  # type: ignore[arg-type]
        assert not await running._may_begin(first, it.clock(), ())
        it.book.turn(first.id, "running", it.clock(), if_in=("approved",))
        assert not await running._may_begin(it.book.plan(first.id), it.clock(), ())


async def test_an_issuer_that_has_had_enough_is_left_alone_by_all(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.issuer.failures = [IssueFailed("limit", "too many", again=True, retry_after=3600.0)]
        world = it.world()
        from certwatch.remediation.apply import carry_out

        plan = it.plan()
        await carry_out(world, plan.id)
        running = Remediation(world, [it.policy], every=timedelta(minutes=1), at_once=5)
        it.clock.advance(minutes=30)
        other = it.book.plan(plan.id)
        # Another one of the same issuer, which never tried.
        from dataclasses import replace

        assert not await running._may_begin(replace(other, not_before_try=None), it.clock(), ())
        world.paused.clear()
        assert await running._may_begin(replace(other, not_before_try=None), it.clock(), ())


async def test_a_clock_that_was_wrong_holds_nothing_up_for_ever(tmp_path: Path) -> None:
    with stage(tmp_path, most_per_hour=1) as it:
        it.clock.advance(days=400)
        wrong = it.plan()
        it.issuer.failures = [IssueFailed("unavailable", "down", again=True)]
        assert (await it.carry_out(wrong)).not_before_try is not None
        it.clock.advance(days=-400)
        running = Remediation(it.world(), [it.policy], every=timedelta(minutes=1), at_once=5)
        assert await running._may_begin(it.book.plan(wrong.id), it.clock(), ())
        assert it.book.begun_since(["web"], it.clock() - timedelta(hours=1), it.clock()) == 0


async def test_policies_of_one_issuer_share_its_rate(tmp_path: Path) -> None:
    from dataclasses import replace

    with stage(tmp_path, most_per_hour=1) as it:
        one = replace(it.policy, issuer_id="acme {}")
        other = replace(one, keys=one.keys.model_copy(update={"name": "other"}))
        third = replace(other, keys=one.keys.model_copy(update={"name": "third"}), issuer_id="acme {2}")
        world = it.world()
        world = replace(world, policies={each.name: each for each in (one, other, third)})
        running = Remediation(world, [one, other, third], every=timedelta(minutes=1), at_once=5)
        plan = it.plan()
        it.book.turn(plan.id, "running", it.clock(), if_in=("approved",))
        it.book.turn(plan.id, "verified", it.clock(), if_in=("running",))
        allowed = {
            name: await running._may_begin(replace(plan, policy=name), it.clock(), ())
            for name in ("web", "other", "third")
        }
        assert allowed == {"web": False, "other": False, "third": True}


def test_a_book_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    from importlib.resources import files

    fresh = Book(tmp_path / "fresh")
    fresh.close()
    text = files("certwatch.remediation").joinpath("schema.sql").read_text()
    old = "\n".join(
        each for each in text.splitlines() if not each.strip().startswith(("orders ", "service "))
    )
    old = old.replace("why TEXT,  ", "why TEXT  ")
    (tmp_path / "old").mkdir()
    with sqlite3.connect(tmp_path / "old" / "remediation.db") as connection:
        connection.executescript(old)
        connection.execute(f"PRAGMA application_id = {0x43575252}")
        connection.execute("PRAGMA user_version = 1")
    Book(tmp_path / "old").close()

    def columns(folder: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(tmp_path / folder / "remediation.db") as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            names = ("plans", "steps", "approvals", "incidents")
            return [
                (version, name, *row[1:5])
                for name in names
                for row in connection.execute(f"PRAGMA table_info({name})")
            ]

    assert columns("old") == columns("fresh")


# What a compromise is.


async def test_a_compromised_key_is_revoked_and_never_put_back(tmp_path: Path) -> None:
    """Its plan had no cause, since the mark is younger than what was known of it: nothing was revoked."""
    with stage(tmp_path) as it:
        scope = scope_of(it.tried.reader, read(it.former.der), it.clock())
        _, [first], _ = open_incident(it.book, scope, [it.policy], it.clock(), by="a", why="w", drill=False)
        plan = it.book.plan(first)
        assert (plan.cause, plan.steps[-1].kind) == (("compromised",), "revoke")
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        done = await it.carry_out(plan)
        assert (done.state, "of no use any more" in done.why) == ("failed", True)
        it.stuck.clear()
        assert it.leaves() != {it.former.der}


async def test_in_an_exercise_the_former_one_is_good_and_is_put_back(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        scope = scope_of(it.tried.reader, read(it.former.der), it.clock())
        _, [first], _ = open_incident(it.book, scope, [it.policy], it.clock(), by="a", why="w", drill=True)
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        assert (await it.carry_out(it.book.plan(first))).state == "rolled-back"
        assert it.issuer.revoked == []


ROOT = make_ca("Old Root", key_number=507)
MIDDLE = make_ca("Middle", issuer=ROOT, key_number=508)
#: The same CA under another root.
CROSSED = make_ca("Middle", issuer=make_ca("Other Root", key_number=509), key_number=508)


@pytest.mark.parametrize("about", [ROOT, MIDDLE, CROSSED])
def test_below_a_compromised_ca_is_also_what_its_intermediates_issued(tmp_path: Path, about: Any) -> None:
    """Of a root nothing was found, since it issues no leaf itself."""
    with stage(tmp_path) as it:
        leaf = make_certificate(names=["dns:below.example.com"], issuer=MIDDLE, key_number=503)
        other = make_certificate(names=["dns:beside.example.com"], issuer=CA, key_number=504)
        it.tried.record(
            it.tried.look("tls://192.0.2.50:443/", leaf, MIDDLE, ROOT),
            it.tried.look("file:///srv/below.pem", leaf, CROSSED),
            it.tried.look("tls://192.0.2.51:443/", other, CA),
        )
        scope = scope_of(it.tried.reader, read(about.der), it.clock())
        assert [each.certificate.der for each in scope.affected] == [leaf.der]


def test_production_comes_first(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        leaves = [
            make_certificate(names=[f"dns:{n}.example.com"], issuer=MIDDLE, key_number=510 + n, not_after=it.clock() + timedelta(days=n + 1))
            for n in range(3)
        ]  # fmt: skip
        it.tried.record(
            it.tried.look("tls://192.0.2.50:443/", leaves[0], MIDDLE, labels={"environment": "staging"}),
            it.tried.look("tls://192.0.2.51:443/", leaves[1], MIDDLE, labels={"environment": "prod"}),
            it.tried.look("tls://192.0.2.52:443/", leaves[2], MIDDLE, labels={"environment": "production"}),
            it.tried.look("tls://192.0.2.53:443/", leaves[2], MIDDLE, labels={"environment": "production"}),
        )
        scope = scope_of(it.tried.reader, read(MIDDLE.der), it.clock())
        assert [each.certificate.der for each in scope.affected] == [each.der for each in (leaves[2], leaves[1], leaves[0])]  # fmt: skip


async def test_a_new_certificate_under_the_compromised_ca_is_put_nowhere(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.tried.store.mark(
            Mark(
                id=MarkID(0),
                kind="compromised",
                certificate=read(CA.der),
                author="alice",
                reason="leaked",
                created_at=it.clock(),
            )
        )
        done = await it.carry_out(it.plan())
        assert (done.state, "Issuing CA, which is compromised. Have another CA issue" in done.why) == (
            "failed",
            True,
        )
        assert it.leaves() == {it.former.der}
