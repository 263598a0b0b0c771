"""`config check`, `config schema`, `rules`."""

import json
from pathlib import Path

from certwatch.plugins import registry
from certwatch.plugins.testing import make_ca
from tests.cli.stage import run


def test_a_good_config_is_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "certwatch.yaml"
    (tmp_path / "root.pem").write_bytes(make_ca().pem)
    path.write_text(
        f"trust: {{corp: {tmp_path}/root.pem}}\n"
        "collectors: [{kind: tls, targets: [www.example.com]}, {kind: file, paths: [/etc/ssl]}]\n"
        "exporters: []\nca: {directory: /x}\n"
    )
    name = str(path)
    for args in (["config", "check", name], ["-c", name, "config", "check"], ["config", "check", "-c", name]):
        ran = run(*args)
        assert ran.status == 0
        assert ran.out == f"{path}: fine (2 collectors, 1 trust store)\n"
        assert ran.err == ""


def test_a_bad_config_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "certwatch.yaml"
    path.write_text("collectors:\n  - {kind: tsl}\nlgo: {}\n")
    ran = run("config", "check", path)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        f"certwatch: {path}:2: collectors[0].kind: unknown collector kind 'tsl', did you mean 'tls'? (known: {', '.join(registry.names('collectors'))})",
        f'certwatch: {path}:3: lgo: unknown key, did you mean "log"?',
    ]


def test_a_trust_store_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "certwatch.yaml"
    path.write_text("trust: {corp: /nonexistent.pem}\n")
    ran = run("config", "check", path)
    assert ran.status == 2
    assert "trust.corp: /nonexistent.pem cannot be read" in ran.err


def test_the_schema_is_json() -> None:
    ran = run("config", "schema")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out)["title"] == "certwatch.yaml"


def test_every_rule_is_listed_with_its_source_and_whether_it_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "certwatch.yaml"
    path.write_text(
        "rules: {weak-key: false, custom: [{id: mine, severity: info, when: cert.is_ca, summary: No CA here}]}\n"
    )
    ran = run("-c", path, "rules", "--json")
    rules = {each["id"]: each for each in json.loads(ran.out)["rules"]}
    assert set(rules) == {*registry.names("rules"), "mine"}
    assert all(each["source"] and each["title"] for each in rules.values())
    assert (rules["weak-key"]["checked"], rules["expiry"]["checked"]) == (False, True)
    table = run("-c", path, "rules").out
    assert table.splitlines()[0].split() == ["ID", "SEVERITY", "WHAT", "SOURCE", "CHECKED"]


def test_explaining_a_rule_shows_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "certwatch.yaml"
    path.write_text("rules: {expiry: {page: 3d}}\n")
    ran = run("-c", path, "rules", "explain", "expiry")
    assert ran.status == 0
    assert "setting page" in ran.out
    assert "3d" in ran.out
    assert json.loads(run("-c", path, "rules", "explain", "expiry", "--json").out)["settings"]["page"] == "3d"
