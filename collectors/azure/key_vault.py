"""Key Vault: certificates in all their enabled versions, and secrets that hold one. A version never changes: it is read once."""

import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from certwatch.doors.json_api import RestClient, RestError
from certwatch.model.observation import Fact, LookError, Observation
from collectors import stored_value
from collectors.azure.subscription import Subscription, listed

VAULTS = "2023-07-01"
API = "7.4"
#: It gives no more at once.
PAGE = 25
_HOLDS_ONE = ("application/x-pem-file", "application/x-pkcs12", "application/pkix-cert")
_REMEMBERED = 20_000


async def vaults(subscription: Subscription) -> AsyncIterator[Mapping[str, Any]]:
    """Raises RestError."""
    path = f"/subscriptions/{subscription.id}/providers/Microsoft.KeyVault/vaults"
    async for each in subscription.listed(path, VAULTS):
        yield each


async def look(subscription: Subscription, vault: Mapping[str, Any]) -> AsyncIterator[Observation]:
    """Raises RestError."""
    name, tags = str(vault["name"]), vault.get("tags") or {}
    client = subscription.vault(str(vault["properties"]["vaultUri"]))
    place = str(vault.get("location") or "")
    query: dict[str, str | int] = {"api-version": API, "maxresults": PAGE}
    async for item in listed(client, "/certificates", query):
        certificate = _last(str(item["id"]))
        for seen in await _certificate(subscription, client, name, certificate, item, tags, place):
            yield seen
    if subscription.config.secrets:
        async for item in listed(client, "/secrets", query):
            attributes = item.get("attributes") or {}
            # A certificate has a secret of its name, with its key.
            if item.get("managed") or attributes.get("enabled") is False:
                continue
            if item.get("contentType") in _HOLDS_ONE:
                async for seen in _secret(subscription, client, name, item, tags, place):
                    yield seen


async def _certificate(
    subscription: Subscription,
    client: RestClient,
    vault: str,
    name: str,
    item: Mapping[str, Any],
    tags: Mapping[str, Any],
    place: str,
) -> list[Observation]:
    """Empty: it was deleted since it was listed."""
    mark = (item.get("x5t"), str(item.get("attributes")), str(item.get("tags")))
    kept = subscription.memory.get((client.origin, name))
    if kept is not None and kept[0] == mark:
        versions: list[tuple[str, bytes, dict[str, Fact | None]]] = kept[1]
    else:
        try:
            versions = await _versions(subscription, client, name)
        except RestError as error:
            if error.status == 404:
                return []
            raise
        if len(subscription.memory) >= _REMEMBERED:
            subscription.memory.clear()
        subscription.memory[client.origin, name] = (mark, versions)
    own = {**tags, **(item.get("tags") or {})}
    return [
        subscription.look(
            "keyvault",
            vault,
            name,
            part="" if index == 0 else version,
            chain=(der,) if der else (),
            facts={**facts, "azure_version": version, "azure_current": index == 0},
            tags=own,
            id=str(item["id"]),
            location=place,
            error=None if der else _no_certificate(client, name),
        )
        for index, (version, der, facts) in enumerate(versions)
    ]


async def _versions(
    subscription: Subscription, client: RestClient, name: str
) -> list[tuple[str, bytes, dict[str, Fact | None]]]:
    """The current one first, then the other enabled ones, the newest first."""
    query: dict[str, str | int] = {"api-version": API, "maxresults": PAGE}
    current = await client.get(f"/certificates/{name}", {"api-version": API})
    newest = _last(str(current["id"]))
    found = [(newest, _der(current), _facts(current))]
    if not subscription.config.versions:
        return found
    others = [
        (int((item.get("attributes") or {}).get("created") or 0), _last(str(item["id"])))
        async for item in listed(client, f"/certificates/{name}/versions", query)
        if (item.get("attributes") or {}).get("enabled") is not False
    ]
    for _, version in sorted(others, reverse=True):
        if version != newest:
            bundle = await client.get(f"/certificates/{name}/{version}", {"api-version": API})
            found.append((version, _der(bundle), _facts(bundle)))
    return found


def _facts(bundle: Mapping[str, Any]) -> dict[str, Fact | None]:
    policy = bundle.get("policy") or {}
    actions = [
        str((each.get("action") or {}).get("action_type")) for each in policy.get("lifetime_actions") or ()
    ]
    issuer = str((policy.get("issuer") or {}).get("name") or "")
    attributes = bundle.get("attributes") or {}
    return {
        "azure_enabled": attributes.get("enabled"),
        "azure_issuer": issuer or None,
        # "Unknown" is what it calls an issuer that somebody else must ask.
        "renewal_managed": "AutoRenew" in actions and issuer != "Unknown" if policy else None,
        "azure_created": _instant(attributes.get("created")),
    }


def _instant(seconds: object) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def _der(bundle: Mapping[str, Any]) -> bytes:
    """Empty: there is none (a request that waits for its certificate)."""
    try:
        return base64.b64decode(str(bundle.get("cer") or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _no_certificate(client: RestClient, name: str) -> LookError:
    return LookError(
        kind="no-certificate",
        message=f"{client.origin}/certificates/{name}: has no certificate yet: its request waits to be signed and merged",
    )


async def _secret(
    subscription: Subscription,
    client: RestClient,
    vault: str,
    item: Mapping[str, Any],
    tags: Mapping[str, Any],
    place: str,
) -> AsyncIterator[Observation]:
    name = _last(str(item["id"]))
    mark = str((item.get("attributes") or {}).get("updated"))
    kept = subscription.memory.get((client.origin, "secret", name))
    error = None
    if kept is not None and kept[0] == mark:
        found = kept[1]
    else:
        try:
            value = await client.get(f"/secrets/{name}", {"api-version": API})
        except RestError as refused:
            found, error = [], refused.error
        else:
            text = str(value.get("value") or "")
            found = stored_value.contents(f"{client.origin}/secrets/{name}", text)
            subscription.memory[client.origin, "secret", name] = (mark, found)
    own = {**tags, **(item.get("tags") or {})}
    common: dict[str, Any] = {"tags": own, "id": str(item["id"]), "location": place}
    if error is not None:
        yield subscription.look("keyvault", vault, "secret", name, error=error, **common)
    for part, content in found:
        yield subscription.look(
            "keyvault",
            vault,
            "secret",
            name,
            part=part,
            chain=content.chain,
            facts=content.facts,
            error=content.error,
            **common,
        )


def _last(id: str) -> str:
    """Name, or version, at the end of an identifier."""
    return id.rstrip("/").rpartition("/")[2]
