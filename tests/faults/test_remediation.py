"""The daemon is killed in the middle of a roll-out, and begun again: no service is worse off than before."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Certwatch, certwatch
from tests.support.nginx import Nginx, nginx, presented
from tests.support.remediation import Renewing, Visitor, config, dying, found_ca, server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
NAME = "www.example.com"


@contextmanager
def stage(folder: Path, health: str, more: str = "") -> Iterator[tuple[Nginx, Visitor, str, str]]:
    """nginx with a certificate that nears its end, somebody who visits it, and a config whose health check is `health`."""
    with nginx(folder, [server(dying(NAME))]) as web:
        policy = (
            f"approve: automatic\n      verify: {{within: 60s, health: [sh, -c, '{health}']}}\n      {more}"
        )
        collectors, rest = config(folder, web, names=[NAME], policy=policy)
        found_ca(folder, rest)
        visitor = Visitor(web.port, NAME)
        with visitor.visiting():
            yield web, visitor, collectors, rest


def kill(daemon: Certwatch) -> None:
    daemon.signal(signal.SIGKILL)
    daemon.end()


def test_one_that_is_killed_while_it_verifies_is_brought_to_its_end(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    health = f"touch {begun}; until [ -e {go} ]; do sleep 0.1; done"
    with stage(tmp_path, health) as (web, visitor, collectors, rest):
        with certwatch(tmp_path, collectors, rest) as daemon:
            daemon.wait(begun.exists, "the health check")
            kill(daemon)
        shown = presented(web.port, name=NAME)
        go.touch()
        with certwatch(tmp_path, collectors, rest) as daemon:
            it = Renewing(daemon=daemon)
            it.verified()
            [plan] = it.plans()
            assert plan["state"] == "verified"
            # All was in place: nothing was issued or deployed a second time.
            assert presented(web.port, name=NAME) == shown
            assert daemon.command("ca", "audit", "verify").returncode == 0
        assert visitor.failed == 0
        assert len(set(visitor.seen)) == 2
        assert [each.name for each in web.folder.iterdir() if "certwatch" in each.name] == []


def test_one_that_is_killed_again_and_again_ends_all_the_same(tmp_path: Path) -> None:
    """Wherever it is hit: after so many moments each time."""
    with stage(tmp_path, "true") as (web, visitor, collectors, rest):
        before = presented(web.port, name=NAME)
        for number in range(2):
            with certwatch(tmp_path, collectors, rest) as daemon:
                seen = [before]

                def step(wanted: int = number, seen: list[bytes] = seen) -> bool:
                    # Planned; issued; deployed; served: a little further each time.
                    log = daemon.log
                    if wanted == 0:
                        return "remediation_planned" in log or "remediation_verified" in log
                    return presented(web.port, name=NAME) != seen[0] or "remediation_verified" in log

                daemon.wait(step, "a step")
                kill(daemon)
        with certwatch(tmp_path, collectors, rest) as daemon:
            it = Renewing(daemon=daemon)
            it.verified()
            assert [each["state"] for each in it.plans()] == ["verified"]
        assert visitor.failed == 0
        assert presented(web.port, name=NAME) != before


def test_a_health_check_that_fails_leaves_what_was_there_and_pages(tmp_path: Path) -> None:
    with stage(tmp_path, "exit 1", "most_tries: 1") as (web, visitor, collectors, rest):
        before = presented(web.port, name=NAME)
        files = {each: each.read_bytes() for each in web.folder.glob("0.*.pem")}
        with certwatch(tmp_path, collectors, rest) as daemon:
            it = Renewing(daemon=daemon)
            daemon.wait(
                lambda: [each["state"] for each in it.plans()] == ["rolled-back"], "one that came back"
            )
            # A person must look now: it is not tried for ever.
            assert daemon.metric("certwatch_remediation_plans_total", outcome="rolled-back") == 1
            daemon.wait(lambda: presented(web.port, name=NAME) == before, "the former one")
            assert {each: each.read_bytes() for each in files} == files
            assert it.findings("expiry") != []
        assert visitor.failed == 0
