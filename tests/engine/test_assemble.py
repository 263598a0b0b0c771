from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from certwatch.config.load import read
from certwatch.engine.assemble import assemble, rule_set
from certwatch.engine.judge import RuleSet
from certwatch.model.finding import Problem
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, FakeClock, make_ca, make_certificate
from certwatch.telemetry.metrics import PLUGIN_FAILURES
from tests.exporters.test_alertmanager import finding
from tests.support.serving import INTERMEDIATE, ROOT, served

VIEW: Any = None


def rules(text: str) -> RuleSet:
    return rule_set(read(text, env={"HOME": "/root"}))


def test_every_installed_rule_is_active_unless_it_is_switched_off(tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(make_ca().pem)
    found = rules(
        f"trust: {{corp: {root}}}\nrules:\n  weak-key: false\n  custom: [{{id: mine, when: 'location.kind == \"file\"'}}]\n"
    )
    ids = {each.rule.id for each in found.rules}
    assert ids == (set(registry.names("rules")) - {"weak-key"}) | {"mine"}
    assert list(found.trust) == ["corp"]
    assert not found.broken


def test_whatever_changes_a_judgement_changes_the_digest(tmp_path: Path) -> None:
    root, other = tmp_path / "root.pem", tmp_path / "other.pem"
    root.write_bytes(make_ca().pem)
    other.write_bytes(make_ca("Other", key_number=9).pem)
    texts = [
        f"trust: {{corp: {root}}}\n",
        f"trust: {{corp: {other}}}\n",
        f"trust: {{corp2: {root}}}\n",
        f"trust: {{corp: {root}}}\nrules: {{expiry: {{page: 24h}}}}\n",
        f"trust: {{corp: {root}}}\nrules: {{weak-key: false}}\n",
        f"trust: {{corp: {root}}}\nowners: [{{team: a, when: 'location.kind == \"tls\"'}}]\n",
        f"trust: {{corp: {root}}}\nrules: {{custom: [{{id: mine, when: 'location.kind == \"tls\"'}}]}}\n",
        f"trust: {{corp: {root}}}\nrules: {{custom: [{{id: mine, when: 'location.kind == \"file\"'}}]}}\n",
    ]
    digests = [rules(text).digest for text in texts]
    assert len(set(digests)) == len(digests)
    assert rules(texts[0]).digest == digests[0]


def test_what_changes_no_judgement_leaves_the_digest(tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(make_ca().pem)
    text = f"trust: {{corp: {root}}}\n"
    assert (
        rules(text).digest
        == rules(text + "collectors: [{kind: file, paths: [/srv/*.pem]}]\nlog: {level: debug}\n").digest
    )


def test_a_rule_that_cannot_be_loaded_is_left_out_and_keeps_its_findings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = registry.load

    def refuse(group: Any, kind: str) -> Any:
        if kind == "expiry":
            raise registry.PluginError("rule kind 'expiry' cannot be imported")
        return load(group, kind)

    before = PLUGIN_FAILURES.labels("rules", "expiry", "PluginError")._value.get()
    monkeypatch.setattr(registry, "load", refuse)
    found = rules("trust: {}\n")
    assert found.broken == {"expiry"}
    assert "expiry" not in {each.rule.id for each in found.rules}
    assert PLUGIN_FAILURES.labels("rules", "expiry", "PluginError")._value.get() == before + 1


def test_collectors_and_exporters_are_made_from_their_own_settings() -> None:
    text = (
        "trust: {}\n"
        "collectors: [{name: here, kind: file, every: 5m, paths: [/srv/*.pem], labels: {environment: prod}}]\n"
        "exporters: [{kind: prometheus, listen: '127.0.0.1:1'}]\n"
    )
    config = read(text, env={"HOME": "/root"})
    work = assemble(config, VIEW, FakeClock())
    (collector,) = work.collectors
    assert (collector.name, collector.every.total_seconds(), dict(collector.labels)) == (
        "here",
        300,
        {"environment": "prod"},
    )
    assert type(collector.build()).__name__ == "FileCollector"
    (exporter,) = work.exporters
    assert cast("Any", exporter.build()).config.listen == "127.0.0.1:1"
    # The same text again is the same work: a reload would leave both alone.
    again = assemble(read(text, env={"HOME": "/root"}), VIEW, FakeClock())
    assert again.collectors[0].settings == collector.settings
    assert again.exporters[0].settings == exporter.settings
    other = assemble(read(text.replace("5m", "6m"), env={"HOME": "/root"}), VIEW, FakeClock())
    assert other.collectors[0].settings != collector.settings


def test_a_rule_of_the_users_own_can_ask_which_stores_accept_a_chain(tmp_path: Path) -> None:
    """And is asked again when a validity ends."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "other.pem").write_bytes(make_ca("Other", key_number=9).pem)
    when = '"corp" in location.trusted_by && !("public" in location.trusted_by)'
    found = rules(
        f"trust: {{public: {tmp_path}/other.pem, corp: {tmp_path}/root.pem}}\n"
        f"rules: {{custom: [{{id: mine, when: '{when}'}}]}}\n"
    )
    (mine,) = [each for each in found.rules if each.rule.id == "mine"]
    place = served((make_certificate(issuer=INTERMEDIATE), INTERMEDIATE))
    leaf = place.chain[0]
    assert leaf.not_after is not None

    def said(now: datetime) -> list[Any]:
        return list(mine.rule.evaluate(place, mine.config, World(now=now, trust=found.trust)))

    assert [type(each) for each in said(EPOCH)] == [Until, Until, Problem]
    end = leaf.not_after + timedelta(seconds=1)
    assert Until(instant=end) in said(EPOCH)
    assert [type(each) for each in said(leaf.not_after)][-1] is Problem
    assert not any(isinstance(each, Problem) for each in said(end))


def test_routes_reach_every_exporter_and_a_changed_one_begins_it_anew(tmp_path: Path) -> None:
    def jobs(when: str) -> Any:
        text = (
            "exporters:\n  - {kind: alertmanager, urls: ['http://127.0.0.1:9'], min_severity: info}\n"
            f"routes:\n  - {{to: security, when: '{when}'}}\n"
        )
        config = read(text, env={"HOME": str(tmp_path)})
        return assemble(replace(config, trust={}), VIEW, FakeClock()).exporters[0]

    first = jobs('finding.rule == "compromised"')
    assert first.settings == jobs('finding.rule == "compromised"').settings
    assert first.settings != jobs('finding.rule == "expiry"').settings
    route_of = first.build()._route_of
    assert [route_of(finding(1, rule=each), None) for each in ("compromised", "expiry")] == ["security", ""]
