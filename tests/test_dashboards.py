"""The dashboards: what is committed is what the code makes, on metrics that are there."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.test_alerts import names
from tools.dashboards import rendered

FOLDER = Path(__file__).parents[1] / "grafana"


def expressions() -> list[tuple[str, str]]:
    """Dashboard and panel, and each query with everything chosen."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", "1m")
                expression = re.sub(r"\$(owner|environment|collector)", ".*", expression)
                found.append((f"{path.stem}: {panel['title']}", expression))
    return found


def test_what_is_committed_is_what_the_code_makes() -> None:
    """Renew with `python -m tools.dashboards`, and read the difference."""
    for name, text in rendered().items():
        assert json.loads((FOLDER / name).read_text()) == json.loads(text), name
    assert {path.name for path in FOLDER.glob("*.json")} == rendered().keys()


def test_every_metric_that_is_asked_for_is_there() -> None:
    for panel, expression in expressions():
        asked = set(re.findall(r"certwatch_[a-z0-9_]*", expression))
        assert asked <= names(), f"{panel}: {asked - names()}"


def test_every_panel_has_a_title_of_its_own_a_unit_and_a_query() -> None:
    for path in FOLDER.glob("*.json"):
        made: dict[str, Any] = json.loads(path.read_text())
        titles = [panel["title"] for panel in made["panels"]]
        assert len(titles) == len(set(titles))
        for panel in made["panels"]:
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        variables = [each["name"] for each in made["templating"]["list"]]
        assert variables == ["datasource", "owner", "environment", "collector"]


def test_the_provisioning_files_are_as_grafana_reads_them() -> None:
    for name, key in (("dashboards.yaml", "providers"), ("datasources.yaml", "datasources")):
        read = yaml.safe_load((FOLDER / "provisioning" / name).read_text())
        assert read["apiVersion"] == 1
        assert read[key]
