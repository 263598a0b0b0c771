"""The chart's rights are those that the collector's table of resources needs."""

from pathlib import Path

import yaml

from collectors.kubernetes.config import SOURCES
from tools import kubernetes_manifests as manifests


def test_the_rights_of_the_chart_are_those_of_the_table() -> None:
    assert manifests.RIGHTS.read_text() == manifests.rights_file(), (
        "run: python -m tools.kubernetes_manifests"
    )


def test_the_chart_switches_on_every_source() -> None:
    values = yaml.safe_load((manifests.CHART / "values.yaml").read_text())
    assert tuple(values["cluster"]["sources"]) == SOURCES


def test_the_kustomization_names_what_is_there() -> None:
    folder = manifests.MANIFEST.parent
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert all((folder / each).is_file() for each in kustomization["resources"])


def test_links_of_the_chart_lead_somewhere() -> None:
    links = [each for each in manifests.CHART.rglob("*") if each.is_symlink()]
    assert len(links) == 6
    assert all(Path(each).resolve().is_file() for each in links)
