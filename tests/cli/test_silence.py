"""`certwatch silence`: taken note of, shown, ended."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.model.silence import Silence, SilenceID
from certwatch.plugins.testing import make_certificate
from tests.cli.stage import fill, later, run, write_config
from tests.support.inventories import opened, problem


@pytest.fixture
def config(tmp_path: Path) -> Path:
    fill(tmp_path)
    return write_config(tmp_path)


def added(config: Path, *args: str) -> dict[str, object]:
    ran = run(
        "silence",
        "add",
        *args,
        "--why",
        "moves on Friday",
        "--by",
        "ada",
        "--json",
        "-c",
        config,
        clock=later(),
    )
    assert ran.status == 0, ran.err
    said: dict[str, object] = json.loads(ran.out)
    return said


def test_a_finding_is_silenced_by_its_number_as_the_matter_that_it_is(config: Path) -> None:
    said = added(config, "1", "--until", "7d")
    finding = json.loads(run("show", "1", "--json", "-c", config).out)
    assert {each: said[each] for each in ("rule", "location", "fingerprint_sha256", "condition")} == {
        "rule": finding["rule"],
        "location": finding["location"],
        "fingerprint_sha256": finding["fingerprint_sha256"],
        "condition": None,
    }
    assert (said["author"], said["reason"]) == ("ada", "moves on Friday")


def test_many_are_silenced_by_a_condition_and_listed(config: Path) -> None:
    added(config, "--where", 'finding.rule == "expiry"', "--until", "2026-12-24")
    ran = run("silence", "list", "-c", config, clock=later())
    assert 'finding.rule == "expiry"' in ran.out
    assert "2026-12-24 00:00Z" in ran.out


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('finding.rule == "expiry"', "1 of what is open now, 1 of it pages"),
        ("true", "3 of what is open now, 1 of it pages"),
        ('finding.rule == "weak-key"', "1 of what is open now"),
        (
            'location.labels.team == "nobody"',
            "nothing that is open now. Is it what you mean? certwatch findings --where",
        ),
    ],
)
def test_it_says_what_a_condition_covers_now(config: Path, where: str, said: str) -> None:
    """One slip of the pen silences everything, or nothing."""
    words = ["silence", "add", "--where", where, "--until", "7d", "--why", "x", "--by", "ada"]
    ran = run(*words, "-c", config, clock=later())
    assert ran.status == 0, ran.err
    assert f": {said}" in ran.out


def test_one_that_was_ended_is_listed_with_all_only(config: Path) -> None:
    id = str(added(config, "1", "--until", "7d")["id"])
    assert run("silence", "end", id, "-c", config, clock=later()).out.startswith(f"silence {id} ended")
    assert run("silence", "end", id, "-c", config, clock=later()).status == 0
    assert json.loads(run("silence", "list", "--json", "-c", config, clock=later()).out)["silences"] == []
    assert (
        len(
            json.loads(run("silence", "list", "--all", "--json", "-c", config, clock=later()).out)["silences"]
        )
        == 1
    )


@pytest.mark.parametrize(
    ("args", "said", "status"),
    [
        (["--until", "7d"], "give the number of a finding, or --where", 2),
        (["1", "--where", "true", "--until", "7d"], "give the number of a finding, or --where", 2),
        (["4711", "--until", "7d"], "there is no finding 4711", 3),
        (["--where", "finding.colour", "--until", "7d"], '"finding" has no "colour"', 2),
        (["--where", "now > cert.not_after", "--until", "7d"], 'unknown name "now"', 2),
        (["1", "--until", "soon"], "neither a time (2026-12-24) nor a duration", 2),
        (["1", "--until", "2020-01-01"], "is over already", 2),
        (["1", "--until", "800d"], "more than a year away", 2),
    ],
)
def test_a_mistake_is_told(config: Path, args: list[str], said: str, status: int) -> None:
    ran = run("silence", "add", *args, "--why", "x", "-c", config, clock=later())
    assert (ran.status, said in ran.err) == (status, True), ran.err


def test_no_reason_is_none(config: Path) -> None:
    ran = run("silence", "add", "1", "--until", "7d", "--why", "  ", "-c", config, clock=later())
    assert (ran.status, ran.err) == (2, "certwatch: --why: between 1 and 4000 characters\n")


def test_what_does_not_exist_cannot_be_ended(config: Path) -> None:
    assert run("silence", "end", "4711", "-c", config).status == 3


def test_findings_are_selected_by_a_condition(config: Path) -> None:
    all_ = json.loads(run("findings", "--json", "-c", config).out)["findings"]
    rule = all_[0]["rule"]
    some = run("findings", "--where", f'finding.rule == "{rule}"', "--json", "-c", config)
    assert json.loads(some.out)["findings"] == [each for each in all_ if each["rule"] == rule]
    assert run("findings", "--where", "finding", "-c", config).status == 2


def test_a_silenced_finding_is_shown_with_who_and_why_and_needs_no_action(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with opened("sqlite", tmp_path) as tried:
        taken = tried.store.silence(
            Silence(
                id=SilenceID(0),
                covers="true",
                until=tried.clock() + timedelta(days=1),
                author="ada",
                reason="known",
                created_at=tried.clock(),
            )
        )
        tried.record(tried.look("tls://203.0.113.7:443/", make_certificate()))
        tried.settle(replace(problem(), silence=taken))
    ran = run("findings", "-c", config)
    assert (ran.status, "page, silenced" in ran.out) == (0, True)
    shown = run("show", "1", "-c", config)
    assert (shown.status, "by ada: known (silence 1)" in shown.out) == (0, True)
    assert (
        json.loads(run("findings", "--json", "-c", config).out)["findings"][0]["silence"]["reason"] == "known"
    )
    assert json.loads(run("findings", "--unsilenced", "--json", "-c", config).out)["findings"] == []
