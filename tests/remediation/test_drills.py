"""Exercises without servers: what they may touch, what they wait for, and that they put back what they broke."""

import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.remediation.drills import scenarios
from certwatch.remediation.drills.exercise import DrillFailed, Exercise
from certwatch.remediation.drills.staged import staged
from certwatch.remediation.failure import RemediationError
from certwatch.x509.der import read
from tests.remediation.stage import CA, Stage, stage
from tests.support.inventories import problem

pytestmark = pytest.mark.anyio
STAGING = ("environment", "staging")


def exercise(it: Stage, scenario: Any, *, within: float = 20, label: tuple[str, str] = STAGING) -> Exercise:
    return Exercise(world=it.world(), scenario=scenario, label=label, within=timedelta(seconds=within))


def kinds(it: Exercise) -> list[tuple[str, str]]:
    return [(each.kind, each.what) for each in it.entries]


class Responder:
    """Out while it is paused; what the daemon finds then is found at once."""

    def __init__(self, it: Stage, *, found: bool = True) -> None:
        self.it, self.found = it, found
        self.asked: list[float] = []
        self.thread = threading.get_ident()
        self.open = False

    def __call__(self, act: str, values: Mapping[str, Any]) -> dict[str, Any]:
        assert (act, values["fingerprint"]) == ("pause-ocsp", read(CA.der).fingerprint_sha256.hex())
        self.asked.append(values["seconds"])
        self.open = self.found and values["seconds"] > 0
        return {}

    def numbers(self, exercise: Exercise, rules: Any) -> set[int]:
        return {7} if self.open else set()


async def test_an_outage_of_the_responder_is_waited_for_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, servers=2) as it:
        responder, run = Responder(it), exercise(it, "ocsp-outage")
        monkeypatch.setattr(scenarios, "_numbers", responder.numbers)
        await scenarios.ocsp_outage(run, read(CA.der), responder)
        assert run.passed
        assert responder.asked == [20, 0]
        assert kinds(run)[1:3] == [
            ("seen", "a finding that it does not answer"),
            ("done", "clients are served all the while, at 2 places"),
        ]


async def test_an_outage_that_nobody_finds_is_ended_as_well(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        responder, run = Responder(it, found=False), exercise(it, "ocsp-outage", within=0.1)
        with pytest.raises(DrillFailed, match="did not come"):
            await scenarios.ocsp_outage(run, read(CA.der), responder)
        assert (run.passed, responder.asked) == (False, [0.1, 0])
        assert kinds(run)[-1] == ("done", "the responder answers again")


async def test_a_responder_that_production_needs_is_not_put_out(tmp_path: Path) -> None:
    with stage(tmp_path) as it:
        it.tried.record(
            it.tried.look("tls://192.0.2.80:443/", it.former, CA, labels={"environment": "prod"}),
            *[it.tried.look(uri, it.former, CA, labels={"environment": "staging"}) for uri in it.files],
        )
        responder = Responder(it)
        with pytest.raises(RemediationError, match="which is not in environment=staging everywhere"):
            await scenarios.ocsp_outage(exercise(it, "ocsp-outage"), read(CA.der), responder)
        assert responder.asked == []


async def test_a_half_deployed_renewal_that_nobody_finds_is_put_back(tmp_path: Path) -> None:
    with stage(tmp_path, servers=4) as it:
        before = {each: each.read_bytes() for each in it.folder.iterdir()}
        run = exercise(it, "half-deployed", within=0.1)
        with pytest.raises(DrillFailed, match="places differ"):
            await scenarios.half_deployed(run, None)
        assert not run.passed
        assert ("done", "a renewal of www.example.com stopped after 2 of 4 places") in kinds(run)
        assert {each: each.read_bytes() for each in it.folder.iterdir()} == before


async def test_an_expired_certificate_that_nobody_replaces_is_put_back(tmp_path: Path) -> None:
    with stage(tmp_path, servers=2) as it:
        before = {each: each.read_bytes() for each in it.folder.iterdir()}
        run = exercise(it, "expired-certificate", within=0.1)
        with pytest.raises(DrillFailed, match="expired"):
            await scenarios.expired_certificate(run, None)
        assert {each: each.read_bytes() for each in it.folder.iterdir()} == before
        assert it.issuer.issued == []


@pytest.mark.parametrize(
    "label", [("environment", "prod"), ("environment", "Production"), ("environment", "other")]
)
async def test_only_what_is_in_staging_everywhere_is_chosen(tmp_path: Path, label: tuple[str, str]) -> None:
    with stage(tmp_path) as it, pytest.raises(RemediationError):
        staged(it.tried.reader, it.book, [it.policy], label, it.clock())


async def test_what_cannot_be_exercised_on_says_why(tmp_path: Path) -> None:
    with stage(tmp_path, rules=["weak-key"]) as it:
        about = read(it.former.der)

        def chosen(**more: Any) -> Any:
            return staged(it.tried.reader, it.book, [it.policy], STAGING, it.clock(), about=about, **more)

        assert chosen().served == tuple(it.files)
        with pytest.raises(RemediationError, match="does not act on expiry"):
            chosen(rule="expiry")
        with pytest.raises(RemediationError, match="lies at 1 places, and 2 are needed"):
            chosen(places=2)
        it.tried.settle(problem("expiry", certificate=it.former))
        it.plan()
        with pytest.raises(RemediationError, match="is being renewed already"):
            chosen()
