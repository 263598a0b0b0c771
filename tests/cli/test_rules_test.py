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
        ("tests: []", "tests: tuple should have at least 1 item"),
        ("tests: [{name: a, expect: {expiri: page}}]", 'no rule "expiri" is checked'),
        ("tests: [{name: a, chain: [gone.pem], expect: {expiry: page}}]", "gone.pem: No such file"),
        ("tests: [{name: a, chain: [config.yaml], expect: {expiry: page}}]", ""),
        ("tests: [{name: a, expct: {}}]", "tests.0.expct: extra inputs are not permitted"),
        ("tests: [", "no YAML"),
        ("tests: [{name: a, at: yesterday, expect: {expiry: page}}]", "tests.0.at"),
    ],
)
def test_a_file_that_is_no_file_of_tests_is_a_usage_error(folder: Path, text: str, message: str) -> None:
    status, _, err = ask(folder, text)
    assert status == (2 if message else 1)
    assert message in err


def test_a_file_that_is_not_there_is_told(folder: Path) -> None:
    ran = run("-c", folder / "config.yaml", "rules", "test", folder / "gone.yaml")
    assert ran.status == 3
    assert "No such file" in ran.err
