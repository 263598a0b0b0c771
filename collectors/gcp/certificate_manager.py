"""Certificate Manager: certificates, the maps by which load balancers take them, and trust configs."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from certwatch.model.observation import Fact, Incomplete, Observation
from collectors.gcp.project import Project, certificates, last, location_of, unreachable

SERVICE = "certificate-manager"
PAGE = 1000
_STATES = {"PROVISIONING": "pending", "FAILED": "failed", "ACTIVE": "ok"}


async def look(project: Project) -> AsyncIterator[Observation | Incomplete]:
    """After `read_maps`. Raises RestError."""
    for location in project.config.locations:
        parent = f"/v1/projects/{project.id}/locations/{location}"
        async for page in project.pages(SERVICE, f"{parent}/certificates", {"pageSize": PAGE}):
            for each in unreachable(project.id, SERVICE, page.get("unreachable") or ()):
                yield each
            for certificate in page.get("certificates") or ():
                yield _certificate(project, certificate)
        async for page in project.pages(SERVICE, f"{parent}/trustConfigs", {"pageSize": PAGE}):
            for each in unreachable(project.id, SERVICE, page.get("unreachable") or ()):
                yield each
            for config in page.get("trustConfigs") or ():
                yield _trust(project, config)


async def read_maps(project: Project) -> None:
    """Fills who uses which certificate. Raises RestError."""
    for location in project.config.locations:
        parent = f"/v1/projects/{project.id}/locations/{location}"
        async for page in project.pages(SERVICE, f"{parent}/certificateMaps", {"pageSize": PAGE}):
            project.uses_incomplete |= bool(page.get("unreachable"))
            for each in page.get("certificateMaps") or ():
                await _entries(project, each)


async def _entries(project: Project, each: Mapping[str, Any]) -> None:
    name = str(each["name"])
    users = [
        str(target.get("targetHttpsProxy") or target.get("targetSslProxy") or name)
        for target in each.get("gclbTargets") or ()
    ]
    places = [
        (str(config.get("ipAddress", "")), port)
        for target in each.get("gclbTargets") or ()
        for config in target.get("ipConfigs") or ()
        for port in config.get("ports") or (443,)
    ]
    async for page in project.pages(SERVICE, f"/v1/{name}/certificateMapEntries", {"pageSize": PAGE}):
        for entry in page.get("certificateMapEntries") or ():
            host = str(entry.get("hostname") or "")
            for certificate in entry.get("certificates") or ():
                project.uses[_key(str(certificate))].update(users or [name])
                for address, port in places:
                    project.targets[_key(str(certificate))].add(_target(address, int(port), host))


def _target(address: str, port: int, host: str) -> str:
    shown = f"[{address}]" if ":" in address else address
    return f"tls://{shown}:{port}/?sni={host}" if host and "*" not in host else f"{shown}:{port}"


def _key(name: str) -> str:
    """Projects are named by id or by number."""
    return "/".join(name.split("/")[2:])


def _certificate(project: Project, each: Mapping[str, Any]) -> Observation:
    name = str(each["name"])
    managed = each.get("managed") or {}
    issue = managed.get("provisioningIssue") or {}
    state = str(managed.get("state") or "")
    attempts = [
        str(it.get("domain", ""))
        for it in managed.get("authorizationAttemptInfo") or ()
        if it.get("state") == "FAILED" or it.get("failureReason")
    ]
    reason = " ".join(str(issue[key]) for key in ("reason", "details") if issue.get(key))
    facts: dict[str, Fact | None] = {
        **project.use(_key(name)),
        "renewal_managed": bool(each.get("managed")),
        "renewal": ("failed" if issue else _STATES.get(state)) if managed else None,
        "renewal_reason": reason[:300] or None,
        "renewal_unvalidated": " ".join(sorted(attempts)[:20]) or None,
        "gcp_state": state or None,
        "gcp_scope": each.get("scope"),
    }
    if each.get("usedBy"):
        users = sorted(str(it.get("name", "")) for it in each["usedBy"])
        facts |= {"in_use": True, "in_use_by": facts.get("in_use_by") or " ".join(users[:20])}
    return project.look(
        location_of(name),
        SERVICE,
        last(name),
        chain=certificates(each.get("pemCertificate")),
        facts=facts,
        labels=each.get("labels"),
        name=name,
    )


def _trust(project: Project, each: Mapping[str, Any]) -> Observation:
    name = str(each["name"])
    stores = each.get("trustStores") or ()
    held = [
        it.get("pemCertificate")
        for store in stores
        for key in ("trustAnchors", "intermediateCas")
        for it in store.get(key) or ()
    ]
    return project.look(
        location_of(name),
        SERVICE,
        "trust-config",
        last(name),
        chain=certificates(*held),
        facts={"arrangement": "bundle"},
        labels=each.get("labels"),
        name=name,
    )
