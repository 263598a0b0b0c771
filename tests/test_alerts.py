"""The alerts that come with certwatch: right by Prometheus' own tools, each tested, each with a runbook, on metrics that are
there."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from certwatch.plugins import registry
from certwatch.telemetry.metrics import REGISTRY
from exporters.prometheus.families import FAMILIES
from tests.support.servers import program

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "alerts"
FILES = ("recording.yml", "alerts.yml", "findings.yml")


def rules() -> list[dict[str, Any]]:
    return [
        rule
        for name in FILES
        for group in yaml.safe_load((ALERTS / name).read_text())["groups"]
        for rule in group["rules"]
    ]


def names() -> set[str]:
    """Every metric that there is, and what is recorded from them."""
    own = {
        sample + suffix
        for family in REGISTRY.collect()
        for sample in (family.name, f"{family.name}_total")
        for suffix in ("", "_bucket", "_count", "_sum")
    }
    return own | {each.name for each in FAMILIES} | {rule["record"] for rule in rules() if "record" in rule}


@pytest.mark.integration
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", *(str(ALERTS / name) for name in FILES)),
        ("test", "rules", str(ALERTS / "tests/alerts_test.yml")),
    ],
)
def test_promtool_finds_them_right(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [program("promtool", "prometheus"), *words], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_amtool_takes_the_routing_and_routes_by_severity() -> None:
    amtool = program("amtool", "prometheus-alertmanager")
    config = str(ALERTS / "alertmanager.yml")
    subprocess.run([amtool, "check-config", config], check=True, capture_output=True, timeout=60)
    routes = (
        (("severity=page", "team=web"), "pages"),
        (("severity=ticket", "team=web"), "tickets"),
        (("severity=info", "team=web"), "nobody"),
        (("severity=page", "team=payments", "page=payments-oncall"), "payments-oncall"),
        (("severity=ticket", "team=payments", "page=payments-oncall"), "tickets"),
        (("severity=page", "team=unowned"), "pages"),
        (("severity=ticket", "team=unowned"), "unowned"),
        # Prometheus' own alerts have no team.
        (("severity=page", "alertname=CertwatchDown"), "pages"),
    )
    for labels, receiver in routes:
        routed = subprocess.run(
            [
                amtool,
                "config",
                "routes",
                "test",
                f"--config.file={config}",
                *labels,
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert routed.stdout.strip() == receiver


def test_every_alert_has_a_test_and_a_runbook() -> None:
    tested = yaml.safe_load((ALERTS / "tests/alerts_test.yml").read_text())["tests"]
    cases = [case for test in tested for case in test.get("alert_rule_test", ())]
    runbooks = set()
    for alert in (rule for rule in rules() if "alert" in rule):
        of_it = [case for case in cases if case["alertname"] == alert["alert"]]
        assert any(case["exp_alerts"] for case in of_it), f"{alert['alert']}: no test that it fires"
        runbook = alert["annotations"]["runbook"]
        if "{{" in runbook:
            assert all((ROOT / f"docs/rules/{each}.md").is_file() for each in registry.names("rules"))
            continue
        runbooks.add(ROOT / runbook)
    assert runbooks == set((ALERTS / "runbooks").glob("*.md"))


def test_every_alert_says_what_is_wrong_and_what_to_do_first() -> None:
    """Whoever is woken by it may have nothing else at hand."""
    for alert in (rule for rule in rules() if "alert" in rule):
        said = alert["annotations"]
        assert set(said) == {"summary", "description", "runbook"}, alert["alert"]
        assert 60 < len(said["description"]) < 300, alert["alert"]


def test_every_metric_in_a_runbook_is_there() -> None:
    known = names()
    for each in (ALERTS / "runbooks").glob("*.md"):
        asked = set(re.findall(r"certwatch[_:][a-z0-9_:]*[a-z0-9]", each.read_text()))
        assert asked <= known, f"{each.name}: {asked - known}"


def test_every_metric_that_is_asked_for_is_there() -> None:
    known = names()
    for rule in rules():
        asked = set(re.findall(r"certwatch[a-z0-9_:]*", rule["expr"])) - {"certwatch"}
        assert asked <= known, f"{rule.get('alert') or rule.get('record')}: {asked - known}"


def test_every_runbook_says_what_it_means_how_to_see_it_mend_it_check_it_and_prevent_it() -> None:
    for each in (ALERTS / "runbooks").glob("*.md"):
        headings = re.findall(r"^## (.*)$", each.read_text(), re.MULTILINE)
        assert headings == ["See it", "Mend it", "Check", "Prevent"], each.name


def test_every_alert_stands_in_the_page_on_alerting() -> None:
    page = (ROOT / "docs/alerting.md").read_text()
    for alert in (rule["alert"] for rule in rules() if "alert" in rule):
        assert alert == "CertwatchFindings" or f"| {alert} |" in page
