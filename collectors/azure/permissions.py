"""The right behind each path that is asked: `deploy/azure/` is written from it by `python -m tools.cloud_policies`."""

from collections.abc import Mapping
from typing import Any

_PROVIDERS = r"/subscriptions/[^/]+/providers"
_PROFILE = r"/subscriptions/[^/]+/resource[Gg]roups/[^/]+/providers/Microsoft.Cdn/profiles/[^/]+"

#: Pattern of the whole path to an action of Resource Manager.
ACTIONS: Mapping[str, str] = {
    r"/subscriptions": "Microsoft.Resources/subscriptions/read",
    f"{_PROVIDERS}/Microsoft.KeyVault/vaults": "Microsoft.KeyVault/vaults/read",
    f"{_PROVIDERS}/Microsoft.Web/sites": "Microsoft.Web/sites/read",
    f"{_PROVIDERS}/Microsoft.Web/certificates": "Microsoft.Web/certificates/read",
    f"{_PROVIDERS}/Microsoft.Network/applicationGateways": "Microsoft.Network/applicationGateways/read",
    f"{_PROVIDERS}/Microsoft.Cdn/profiles": "Microsoft.Cdn/profiles/read",
    f"{_PROFILE}/secrets": "Microsoft.Cdn/profiles/secrets/read",
    f"{_PROFILE}/customDomains": "Microsoft.Cdn/profiles/customdomains/read",
}
#: The same of a vault's own paths.
DATA_ACTIONS: Mapping[str, str] = {
    r"/certificates(/[^/]+){0,2}": "Microsoft.KeyVault/vaults/certificates/read",
}
#: Only with `secrets: true`.
SECRET_ACTIONS: Mapping[str, str] = {
    r"/secrets": "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    r"/secrets/[^/]+": "Microsoft.KeyVault/vaults/secrets/getSecret/action",
}


def roles() -> dict[str, dict[str, Any]]:
    """By the name of the file: as `az role definition create --role-definition` takes it."""
    return {
        "role.json": _role("certwatch", ACTIONS.values(), DATA_ACTIONS.values()),
        "role-secrets.json": _role("certwatch secrets", (), SECRET_ACTIONS.values()),
    }


def _role(name: str, actions: Any, data_actions: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "IsCustom": True,
        "Description": "Reads certificates and who uses them",
        "Actions": sorted(actions),
        "NotActions": [],
        "DataActions": sorted(data_actions),
        "NotDataActions": [],
        "AssignableScopes": ["/subscriptions/YOUR-SUBSCRIPTION"],
    }
