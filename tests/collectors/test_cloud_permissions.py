"""What `deploy/` grants is what collectors ask for: each path by one right, each right by some path."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from certwatch.plugins.testing import collect
from collectors.azure import AzureCollector
from collectors.azure import permissions as azure_permissions
from collectors.gcp import GCPCollector
from collectors.gcp import permissions as gcp_permissions
from tests.collectors.test_azure import azure
from tests.collectors.test_gcp import google
from tests.support.rest_server import rest_server
from tools.cloud_policies import DEPLOY, files

pytestmark = pytest.mark.anyio


def used(paths: list[str], rights: Mapping[str, str]) -> set[str]:
    found = set()
    for path in paths:
        matching = [right for pattern, right in rights.items() if re.fullmatch(pattern, path)]
        assert len(matching) == 1, path
        found.add(matching[0])
    return found


async def test_googles_role_is_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("good")
    with rest_server(google) as server:
        settings: dict[str, Any] = {
            "projects": ["*"],
            "endpoint": server.url,
            "token_file": str(tmp_path / "token"),
            "rate": 10_000,
        }
        await collect(GCPCollector, settings)
        assert used(server.paths(), gcp_permissions.BY_PATH) == set(gcp_permissions.BY_PATH.values())


async def test_azures_roles_are_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("good")
    rights = {
        **azure_permissions.ACTIONS,
        **azure_permissions.DATA_ACTIONS,
        **azure_permissions.SECRET_ACTIONS,
    }
    with rest_server(azure) as server:
        settings = {
            "endpoint": server.url,
            "token_file": str(tmp_path / "token"),
            "rate": 10_000,
            "secrets": True,
        }
        await collect(AzureCollector, settings)
        assert used(server.paths(), rights) == set(rights.values())


def test_the_files_are_written_from_the_tables() -> None:
    for path, text in files().items():
        assert path.read_text() == text, "run: python -m tools.cloud_policies"
    assert json.loads((DEPLOY / "azure/role.json").read_text())["Actions"]
