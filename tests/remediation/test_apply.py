"""A roll-out ends verified or rolled back, whatever happens on the way, and leaves no service worse off than before."""

from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.plugins.issuer import IssueFailed
from certwatch.remediation.material import split_pem
from tests.remediation.stage import CA, Crash, stage, with_keys

pytestmark = pytest.mark.anyio
STEPS = ("issue-begun", "issue-done", "deploy-begun", "put", "deploy-done", "verify-begun", "verify-done")


def down(**more: object) -> IssueFailed:
    return IssueFailed("unavailable", "the CA does not answer", again=True, **more)  # type: ignore[arg-type]


async def test_a_plan_ends_when_every_place_serves_the_new_certificate(tmp_path: Path) -> None:
    with stage(tmp_path, servers=3) as it:
        done = await it.carry_out(it.plan())
        assert (done.state, done.why) == ("verified", "")
        [new] = it.leaves()
        assert new == split_pem(it.issuer.issued[-1])[0]
        assert [each.state for each in done.steps] == ["done"] * 6
        assert [each.kind for each in done.steps] == [
            "issue",
            "deploy",
            "verify",
            "deploy",
            "deploy",
            "verify",
        ]
        assert it.rests() == []
        assert it.looked_again == ["edge"]
        assert it.notes == ["remediation-verified"]
        for number in range(3):
            path, key = it.folder / f"{number}.pem", it.folder / f"{number}.key"
            assert path.read_bytes() == it.issuer.issued[-1]
            assert path.stat().st_mode & 0o777 == 0o640
            # It was readable for everybody, which is not carried over.
            assert key.stat().st_mode & 0o777 == 0o640


async def test_certificate_and_key_may_be_in_one_file(tmp_path: Path) -> None:
    with stage(tmp_path, combined=True) as it:
        assert (await it.carry_out(it.plan())).state == "verified"
        data = (it.folder / "0.pem").read_bytes()
        assert data.startswith(it.issuer.issued[-1])
        assert data.count(b"PRIVATE KEY") == 2
        assert (it.folder / "0.pem").stat().st_mode & 0o777 == 0o640


async def test_a_canary_that_goes_on_with_the_former_one_keeps_the_others_untouched(tmp_path: Path) -> None:
    with stage(tmp_path, servers=4) as it:
        before = {each: each.read_bytes() for each in it.folder.iterdir()}
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        done = await it.carry_out(it.plan())
        assert done.state == "rolled-back"
        assert "still serves another certificate" in done.why
        assert [each.state for each in done.steps] == [
            "done",
            "undone",
            "failed",
            "todo",
            "todo",
            "todo",
            "todo",
        ]
        assert {each: each.read_bytes() for each in it.folder.iterdir()} == before


async def test_one_of_four_replicas_that_is_stuck_brings_all_back(tmp_path: Path) -> None:
    with stage(tmp_path, servers=4) as it:
        before = {each: each.read_bytes() for each in it.folder.iterdir()}
        uri = sorted(it.files)[2]
        it.stuck = {uri: it.files[uri].read_bytes()}
        done = await it.carry_out(it.plan())
        assert done.state == "rolled-back"
        assert uri in done.why
        assert {each: each.read_bytes() for each in it.folder.iterdir()} == before
        assert it.leaves() == {it.former.der}


async def test_a_reload_that_fails_brings_the_former_one_back(tmp_path: Path) -> None:
    with stage(tmp_path, reload=("sh", "-c", "echo broken config; exit 3")) as it:
        done = await it.carry_out(it.plan())
        # The reload fails for the former one too: what lies there is right, and somebody must look.
        assert done.state == "failed"
        assert "broken config" in done.why
        assert it.leaves() == {it.former.der}


async def test_a_health_check_that_fails_brings_the_former_one_back(tmp_path: Path) -> None:
    with stage(tmp_path, verify={"within": "1s", "health": ["sh", "-c", "echo no; exit 1"]}) as it:
        done = await it.carry_out(it.plan())
        assert (done.state, "health check" in done.why) == ("rolled-back", True)
        assert it.leaves() == {it.former.der}


async def test_an_issuer_that_is_down_is_asked_again_later_and_not_for_ever(tmp_path: Path) -> None:
    with stage(tmp_path, most_tries=3) as it:
        it.issuer.failures = [down(), down(retry_after=7200.0), down()]
        plan = it.plan()
        first = await it.carry_out(plan)
        assert (first.state, first.not_before_try) == ("approved", it.clock() + timedelta(minutes=1))
        second = await it.carry_out(plan)
        assert second.not_before_try == it.clock() + timedelta(hours=2)
        third = await it.carry_out(plan)
        assert (third.state, third.why) == ("failed", "issuer: the CA does not answer")
        assert it.leaves() == {it.former.der}
        assert it.rests() == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["dns:other.example.com"], "without dns:www.example.com"),
        (["dns:www.example.com", "dns:b.example.com"], "more than"),
    ],
)
async def test_a_certificate_for_other_names_is_put_nowhere(
    tmp_path: Path, names: list[str], says: str
) -> None:
    with stage(tmp_path) as it:
        it.issuer.names = names
        done = await it.carry_out(it.plan())
        assert (done.state, says in done.why) == ("failed", True)
        assert it.leaves() == {it.former.der}


async def test_what_somebody_else_changed_meanwhile_stays_as_they_made_it(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        plan = it.plan()
        (it.folder / "0.pem").write_bytes(CA.pem)
        done = await it.carry_out(plan)
        assert (done.state, "holds another certificate" in done.why) == ("rolled-back", True)
        assert (it.folder / "0.pem").read_bytes() == CA.pem
        assert (it.folder / "0.key").read_bytes() == it.former.key_pem


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("servers", [1, 3])
async def test_a_crash_at_any_step_ends_in_a_verified_state(tmp_path: Path, step: str, servers: int) -> None:
    with stage(tmp_path, servers=servers) as it:
        it.crash_at = step
        done = await it.carry_out(it.plan(), crashes=1)
        assert done.state == "verified", done.why
        [new] = it.leaves()
        assert new == split_pem(it.issuer.issued[-1])[0]
        assert it.rests() == []
        for number in range(servers):
            from cryptography import x509
            from cryptography.hazmat.primitives import serialization

            key = serialization.load_pem_private_key((it.folder / f"{number}.key").read_bytes(), None)
            assert key.public_key() == x509.load_der_x509_certificate(new).public_key()


@pytest.mark.parametrize("step", ["rolling-back", "undone"])
async def test_a_crash_within_a_rollback_ends_rolled_back(tmp_path: Path, step: str) -> None:
    with stage(tmp_path, servers=2) as it:
        before = {each: each.read_bytes() for each in it.folder.iterdir()}
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        it.crash_at = step
        plan = it.plan()
        with pytest.raises(Crash):
            await it.carry_out(plan)
        done = await it.carry_out(plan)
        assert done.state == "rolled-back"
        assert {each: each.read_bytes() for each in it.folder.iterdir()} == before


@pytest.mark.parametrize("broken", ["0.pem", "0.key"])
async def test_a_crash_between_the_two_files_is_undone_as_well(tmp_path: Path, broken: str) -> None:
    with stage(tmp_path) as it:
        it.crash_at = "put"
        plan = it.plan()
        with pytest.raises(Crash):
            await it.carry_out(plan)
        # As it looks after a crash that came between the two renames.
        former = {"0.pem": it.former.pem, "0.key": it.former.key_pem}
        (it.folder / broken).write_bytes(former[broken])
        assert it.book.turn(plan.id, "rolling-back", it.clock(), if_in=("running",), why="by a person")
        done = await it.carry_out(plan)
        assert done.state == "rolled-back"
        assert {each.name: each.read_bytes() for each in it.folder.iterdir()} == former


async def test_a_former_certificate_that_clients_refuse_anyhow_is_not_put_back(tmp_path: Path) -> None:
    with stage(tmp_path, days_left=-1) as it:
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        done = await it.carry_out(it.plan())
        assert (done.state, "stays" in done.why) == ("failed", True)
        assert (it.folder / "0.pem").read_bytes() == it.issuer.issued[-1]
        assert it.rests() == []


async def test_the_former_one_is_revoked_only_after_the_new_one_was_seen(tmp_path: Path) -> None:
    with stage(tmp_path, revoke=True) as it:
        it.stuck = {uri: path.read_bytes() for uri, path in it.files.items()}
        assert (await it.carry_out(it.plan())).state == "rolled-back"
        assert it.issuer.revoked == []
        it.stuck.clear()
        assert (await it.carry_out(it.plan())).state == "verified"
        [(_, reason)] = it.issuer.revoked
        assert reason == "superseded"


async def test_a_policy_that_is_gone_from_the_config_is_told(tmp_path: Path) -> None:
    from certwatch.remediation.failure import RemediationError

    with stage(tmp_path) as it:
        plan = it.plan()
        it.policy = with_keys(it.policy, name="other")
        with pytest.raises(RemediationError, match="is not in the config any more"):
            await it.carry_out(plan)


async def test_what_is_nowhere_any_more_is_not_renewed(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        plan = it.plan()
        it.tried.record()
        done = await it.carry_out(plan)
        assert (done.state, "nowhere" in done.why) == ("failed", True)
        assert it.issuer.issued == []
