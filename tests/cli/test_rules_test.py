"""`certwatch rules test`: a user's rules against fixtures."""

import json
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_ca, make_certificate
from tests.cli.stage import run

ROOT = make_ca()
RSA = make_certificate(issuer=ROOT, key_kind="rsa")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "rsa.pem").write_bytes(RSA.pem + ROOT.pem)
    (tmp_path / "rsa.der").write_bytes(RSA.der)
    (tmp_path / "config.yaml").write_text(
        f"trust: {{corp: [{tmp_path}/root.pem]}}\n"
        "collectors: []\n"
        "rules:\n"
        "  custom:\n"
        "    - {id: no-rsa-in-prod, severity: ticket,\n"
        '       when: \'cert.key.type == "rsa" && location.labels.environment == "prod"\'}\n'
    )
    return tmp_path


def ask(folder: Path, text: str, *more: str) -> tuple[int, str, str]:
    (folder / "tests.yaml").write_text(text)
    ran = run("-c", folder / "config.yaml", "rules", "test", folder / "tests.yaml", *more)
    return ran.status, ran.out, ran.err


GOOD = """
tests:
  - name: RSA in production is told
    chain: [rsa.pem]
    labels: {environment: prod}
    at: 2026-11-02
    expect: {no-rsa-in-prod: ticket, expiry: none}
    only: true
  - name: RSA elsewhere is not
    chain: [rsa.der]
    at: 2026-11-02T12:00:00Z
    expect: {no-rsa-in-prod: none}
"""


def test_rules_that_say_what_is_expected_pass(folder: Path) -> None:
    assert ask(folder, GOOD) == (
        0,
        "ok  RSA in production is told\nok  RSA elsewhere is not\n",
        "certwatch: 2 passed, 0 failed\n",
    )


def test_one_that_does_not_is_shown_with_what_was_found(folder: Path) -> None:
    wrong = GOOD.replace("no-rsa-in-prod: none", "no-rsa-in-prod: page").replace(
        "2026-11-02\n", "2030-01-01\n"
    )
    status, out, _ = ask(folder, wrong)
    assert status == 1
    assert "FAIL  RSA elsewhere is not\n      no-rsa-in-prod: expected page, found none\n" in out
    assert "expiry: expected none, found page" in out
    said = json.loads(ask(folder, wrong, "--json")[1])
    assert [bool(each["wrong"]) for each in said["tests"]] == [True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tests: []", "tests.yaml:1: tests: must not be empty"),
        ("", "tests.yaml:1: a file of tests is a key with a list"),
        ("[]", "tests.yaml:1: a file of tests is a key with a list"),
        ("tests: [{name: a, expect: {expiri: page}}]", 'no rule "expiri" is checked'),
        ("tests: [{name: a, chain: [gone.pem], expect: {expiry: page}}]", "gone.pem: No such file"),
        ("tests: [{name: a, chain: [.], expect: {expiry: page}}]", "Is a directory"),
        # It has no end.
        ("tests: [{name: a, chain: [/dev/zero], expect: {expiry: page}}]", "/dev/zero: larger than 4 MiB"),
        ("tests:\n  - name: a\n    expct: {}", "tests.yaml:3: tests[0].expct: unknown key"),
        ("tests: [", "tests.yaml:1: not YAML"),
        (
            "tests: [{name: a, at: yesterday, expect: {expiry: page}}]",
            "tests[0].at: 'yesterday' is not a time",
        ),
        # An offset that no zone has, which the YAML library stumbles over.
        ("tests: [{name: a, at: 2026-01-01T00:00:00+99:00, expect: {expiry: none}}]", "tests[0].at: "),
        # One that is misspelt is judged by no rule: whatever is expected not to be said is not.
        (
            "tests: [{name: a, location: www.example.com, expect: {expiry: none}}]",
            "tests[0].location: no location",
        ),
        (
            "tests: [{name: a, location: 'tls://[::1/', expect: {expiry: none}}]",
            "tests[0].location: no location",
        ),
        ("tests: [{name: a, location: '', expect: {expiry: none}}]", "tests[0].location: no location"),
        ("tests: [{name: a, expect: {expiry: none, expiry: page}}]", "expect.expiry: the same key twice"),
        ("tests: [{name: a, facts: {x: [1]}, expect: {expiry: none}}]", "tests[0].facts.x"),
        ("a: &a [x, x]\ntests: [{name: a, chain: *b, expect: {}}]", 'alias "*b" has no anchor'),
        ("a: &a [*a]", "stands inside what it stands for"),
    ],
)
def test_a_file_that_is_no_file_of_tests_is_a_usage_error(folder: Path, text: str, message: str) -> None:
    status, out, err = ask(folder, text)
    assert (status, out) == (2, "")
    assert message in err


def test_a_file_that_holds_no_certificate_is_judged_as_one_that_cannot_be_read(folder: Path) -> None:
    status, _, err = ask(
        folder, "tests: [{name: a, chain: [config.yaml], only: true, expect: {unreadable: ticket}}]"
    )
    assert status in (0, 1), err


def test_labels_are_texts_as_they_are_in_a_config(folder: Path) -> None:
    text = GOOD.replace("{environment: prod}", "{environment: prod, version: 1.10, on: yes}")
    assert ask(folder, text)[0] == 0


def test_a_file_that_is_not_there_is_told(folder: Path) -> None:
    ran = run("-c", folder / "config.yaml", "rules", "test", folder / "gone.yaml")
    assert ran.status == 3
    assert "No such file" in ran.err
