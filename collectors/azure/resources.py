"""What else holds or uses certificates in a subscription: App Service, application gateways, Front Door."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any

from certwatch.model.observation import Fact, Observation
from collectors import stored_value
from collectors.azure.subscription import Chain, Subscription
from collectors.served_at import served_at

WEB = "2023-12-01"
NETWORK = "2023-11-01"
CDN = "2023-05-01"
_RENEWAL = {
    "Approved": "ok",
    "Pending": "pending",
    "PendingRevalidation": "pending",
    "Submitting": "pending",
    "RefreshingValidationToken": "pending",
    "Rejected": "failed",
    "TimedOut": "failed",
    "InternalError": "failed",
}
_MOST = 20


async def app_service(subscription: Subscription) -> AsyncIterator[Observation]:
    """Certificates of web apps, with who uses them. Raises RestError."""
    providers = f"/subscriptions/{subscription.id}/providers"
    users: dict[str, set[str]] = defaultdict(set)
    hosts: dict[str, set[str]] = defaultdict(set)
    async for site in subscription.listed(f"{providers}/Microsoft.Web/sites", WEB):
        for state in (site.get("properties") or {}).get("hostNameSslStates") or ():
            thumbprint, host = str(state.get("thumbprint") or "").upper(), str(state.get("name") or "")
            if thumbprint and state.get("sslState") not in (None, "Disabled"):
                users[thumbprint].add(str(site["id"]))
                hosts[thumbprint].add(host)
    async for each in subscription.listed(f"{providers}/Microsoft.Web/certificates", WEB):
        properties = each.get("properties") or {}
        thumbprint = str(properties.get("thumbprint") or "").upper()
        facts: dict[str, Fact | None] = {
            "in_use": bool(users[thumbprint]),
            "in_use_by": " ".join(sorted(users[thumbprint])[:_MOST]) or None,
            "tls_targets": served_at(hosts[thumbprint]),
            "renewal_managed": bool(properties.get("canonicalName")),
            "azure_key_vault": properties.get("keyVaultId"),
            "azure_thumbprint": thumbprint or None,
            "azure_not_after": properties.get("expirationDate"),
        }
        yield subscription.look(
            "app-service",
            _group(each),
            str(each["name"]),
            chain=_blob(properties.get("cerBlob")),
            facts=facts,
            tags=each.get("tags"),
            id=str(each["id"]),
            location=str(each.get("location") or ""),
        )


async def application_gateway(subscription: Subscription) -> AsyncIterator[Observation]:
    """Certificates of listeners, and roots that back ends are verified by. Raises RestError."""
    path = f"/subscriptions/{subscription.id}/providers/Microsoft.Network/applicationGateways"
    async for gateway in subscription.listed(path, NETWORK):
        properties = gateway.get("properties") or {}
        served = _listeners(properties)
        common: dict[str, Any] = {
            "tags": gateway.get("tags"),
            "location": str(gateway.get("location") or ""),
        }
        for each in properties.get("sslCertificates") or ():
            own, id = each.get("properties") or {}, str(each.get("id") or "")
            hosts = served.get(id.lower(), set())
            used = bool(own.get("httpListeners")) or bool(hosts)
            yield subscription.look(
                "application-gateway",
                _group(gateway),
                str(gateway["name"]),
                str(each["name"]),
                chain=_blob(own.get("publicCertData")),
                facts={
                    "in_use": used,
                    "in_use_by": str(gateway["id"]) if used else None,
                    "tls_targets": served_at(hosts),
                    "azure_key_vault": own.get("keyVaultSecretId"),
                },
                id=id,
                **common,
            )
        for each in properties.get("trustedRootCertificates") or ():
            own = each.get("properties") or {}
            yield subscription.look(
                "application-gateway",
                _group(gateway),
                str(gateway["name"]),
                "trusted-root",
                str(each["name"]),
                chain=_blob(own.get("data")),
                facts={"arrangement": "bundle", "azure_key_vault": own.get("keyVaultSecretId")},
                id=str(each.get("id") or ""),
                **common,
            )


def _listeners(properties: Mapping[str, Any]) -> dict[str, set[str]]:
    """Where each certificate is served, by its id in lower case (Azure writes ids in any)."""
    ports = {
        str(each.get("id") or "").lower(): (each.get("properties") or {}).get("port")
        for each in properties.get("frontendPorts") or ()
    }
    found: dict[str, set[str]] = defaultdict(set)
    for listener in properties.get("httpListeners") or ():
        own = listener.get("properties") or {}
        certificate = str((own.get("sslCertificate") or {}).get("id") or "").lower()
        port = ports.get(str((own.get("frontendPort") or {}).get("id") or "").lower()) or 443
        for host in [own.get("hostName"), *(own.get("hostNames") or ())]:
            if certificate and host:
                found[certificate].add(f"{host}:{port}")
    return found


async def front_door(subscription: Subscription) -> AsyncIterator[Observation]:
    """Custom domains of Front Door, with the state of their validation. Raises RestError."""
    path = f"/subscriptions/{subscription.id}/providers/Microsoft.Cdn/profiles"
    async for profile in subscription.listed(path, CDN):
        if "FrontDoor" not in str((profile.get("sku") or {}).get("name")):
            continue
        id = str(profile["id"])
        secrets = {
            str(each["id"]).lower(): (each.get("properties") or {}).get("parameters") or {}
            async for each in subscription.listed(f"{id}/secrets", CDN)
        }
        async for each in subscription.listed(f"{id}/customDomains", CDN):
            properties = each.get("properties") or {}
            settings = properties.get("tlsSettings") or {}
            secret = secrets.get(str((settings.get("secret") or {}).get("id") or "").lower(), {})
            validation = str(properties.get("domainValidationState") or "")
            host = str(properties.get("hostName") or "")
            managed = settings.get("certificateType") == "ManagedCertificate"
            yield subscription.look(
                "front-door",
                str(profile["name"]),
                str(each["name"]),
                facts={
                    "in_use": True,
                    "in_use_by": str(each["id"]),
                    "tls_targets": served_at({host}),
                    "renewal_managed": managed,
                    "renewal": _RENEWAL.get(validation) if managed else None,
                    "renewal_unvalidated": host
                    if managed and _RENEWAL.get(validation, "ok") != "ok"
                    else None,
                    "azure_validation": validation or None,
                    "azure_certificate_type": settings.get("certificateType"),
                    "azure_minimum_protocol": settings.get("minimumTlsVersion"),
                    "azure_key_vault": (secret.get("secretSource") or {}).get("id"),
                    "azure_thumbprint": secret.get("thumbprint"),
                    "azure_not_after": secret.get("expirationDate"),
                },
                tags=profile.get("tags"),
                id=str(each["id"]),
            )


def _group(resource: Mapping[str, Any]) -> str:
    """Its resource group."""
    steps = str(resource.get("id") or "").split("/")
    folded = [each.lower() for each in steps]
    at = folded.index("resourcegroups") if "resourcegroups" in folded else -1
    return steps[at + 1] if 0 <= at < len(steps) - 1 else "-"


def _blob(value: object) -> Chain:
    return stored_value.chain(str(value or ""))
