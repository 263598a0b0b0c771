"""The only road to a plug-in. Strangers here are real distributions: metadata and module in a folder on the path."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from certwatch.plugins import registry
from certwatch.plugins.registry import PluginError


@pytest.fixture(autouse=True)
def fresh_metadata() -> Iterator[None]:
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


def distribution(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, points: str, code: str = "", extras: str = ""
) -> None:
    """Installs a distribution as pip would leave it: NAME.dist-info beside its module."""
    module = name.replace("-", "_")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{extras}")
    (info / "entry_points.txt").write_text(dedent(points))
    (info / "RECORD").write_text(f"{module}.py,,\n")
    (folder / f"{module}.py").write_text(dedent(code))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.mark.parametrize("group", registry.GROUPS)
def test_every_plugin_of_ours_loads(group: registry.Group) -> None:
    names = registry.names(group)
    assert names
    for name in names:
        registry.load(group, name)


def test_an_unknown_kind_names_the_nearest_and_all() -> None:
    with pytest.raises(PluginError) as refused:
        registry.load("collectors", "tsl")
    known = ", ".join(registry.names("collectors"))
    assert str(refused.value) == f"unknown collector kind 'tsl', did you mean 'tls'? (known: {known})"


def test_two_distributions_claiming_one_name_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[certwatch.collectors]\ntls = first_claim:X\n"
    distribution(tmp_path, monkeypatch, name="first-claim", points=points)
    with pytest.raises(PluginError, match="claimed by certwatch and first-claim: uninstall one of them"):
        registry.load("collectors", "tls")


def test_a_missing_extra_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(
        tmp_path,
        monkeypatch,
        name="cloudy",
        points="[certwatch.collectors]\nskies = cloudy:X\n",
        code="import boto_of_the_skies",
        extras="Provides-Extra: skies\n",
    )
    with pytest.raises(PluginError) as refused:
        registry.load("collectors", "skies")
    assert str(refused.value) == (
        "collector kind 'skies' needs boto_of_the_skies. Install it with: pip install \"cloudy[skies]\""
    )


def test_a_module_that_breaks_on_import_is_its_own_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(
        tmp_path,
        monkeypatch,
        name="broken",
        points="[certwatch.rules]\nbroken = broken:RULE\n",
        code="raise RuntimeError('no luck')",
    )
    with pytest.raises(
        PluginError, match=r"rule kind 'broken' \(broken:RULE of broken\) cannot be imported: .*no luck"
    ):
        registry.load("rules", "broken")


def test_an_object_without_a_needed_member_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(
        tmp_path,
        monkeypatch,
        name="half",
        points="[certwatch.exporters]\nhalf = half:Half\n",
        code="class Half:\n    Config = object\n    async def start(self): ...\n",
    )
    with pytest.raises(PluginError, match=r"has no .publish.: see docs/plugins\.md"):
        registry.load("exporters", "half")


def test_another_distribution_that_owns_one_of_our_names_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip replaced our rules/__init__.py by django-rules' and said nothing: so we look."""
    info = tmp_path / "rules-3.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rules\nVersion: 3.5\n")
    (info / "RECORD").write_text("rules/__init__.py,,\n")
    (info / "top_level.txt").write_text("rules\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "rules" in registry.foreign_owners()["rules"]


def test_nobody_else_owns_our_names_here() -> None:
    assert registry.foreign_owners() == {}


def test_installed_tells_name_version_and_distribution() -> None:
    tls = next(each for each in registry.installed() if (each.group, each.name) == ("collectors", "tls"))
    assert (tls.distribution, tls.target) == ("certwatch", "collectors.tls:TLSCollector")
    assert tls.version
