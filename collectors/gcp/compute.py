"""Compute Engine: classic SSL certificates, global and regional, and the load balancers' proxies that use them."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from collectors.gcp.project import Project, certificates, scope, unreachable

SERVICE = "compute"
PAGE = 500
_PARTIAL: dict[str, str | int] = {"maxResults": PAGE, "returnPartialSuccess": "true"}
_RENEWAL = {
    "PROVISIONING": "pending",
    "ACTIVE": "ok",
    "PROVISIONING_FAILED": "failed",
    "PROVISIONING_FAILED_PERMANENTLY": "failed",
    "RENEWAL_FAILED": "failed",
}
_MOST_PORTS = 20


async def look(project: Project) -> AsyncIterator[Observation | Incomplete]:
    """After `read_proxies`. Raises RestError."""
    path = f"/compute/v1/projects/{project.id}/aggregated/sslCertificates"
    async for page in project.pages(SERVICE, path, _PARTIAL):
        for unseen in unreachable(project.id, SERVICE, page.get("unreachables") or ()):
            yield unseen
        for place, held in (page.get("items") or {}).items():
            region = str(place).rpartition("/")[2]
            warning = held.get("warning") or {}
            if warning.get("code") not in (None, "NO_RESULTS_ON_PAGE"):
                message = f"{project.id}: compute: {region}: {warning.get('message') or warning['code']}"
                yield Incomplete(
                    scope=scope(project.id, region, SERVICE),
                    error=LookError(kind="unreachable", message=message[:300]),
                )
            for each in held.get("sslCertificates") or ():
                yield _certificate(project, region, each)


def _certificate(project: Project, region: str, each: Mapping[str, Any]) -> Observation:
    managed = each.get("managed") or {}
    status = str(managed.get("status") or "")
    waiting = {str(name): str(state) for name, state in (managed.get("domainStatus") or {}).items()}
    failed = sorted(name for name, state in waiting.items() if state != "ACTIVE")
    own = each.get("selfManaged") or {}
    facts: dict[str, Fact | None] = {
        **project.use(_key(str(each.get("selfLink", "")))),
        "renewal_managed": each.get("type") == "MANAGED",
        "renewal": _RENEWAL.get(status),
        "renewal_reason": " ".join(sorted({waiting[name] for name in failed})) or None,
        "renewal_unvalidated": " ".join(failed[:20]) or None,
        "gcp_state": status or None,
    }
    return project.look(
        region,
        SERVICE,
        str(each["name"]),
        chain=certificates(each.get("certificate"), own.get("certificate")),
        facts=facts,
        name=str(each.get("selfLink", "")),
    )


async def read_proxies(project: Project) -> None:
    """Fills who uses which certificate, and where it is served. Raises RestError."""
    places = await _rules(project)
    for kind in ("targetHttpsProxies", "targetSslProxies"):
        async for each in _listed(project, kind):
            link = _key(str(each.get("selfLink", "")))
            for certificate in each.get("sslCertificates") or ():
                key = _key(str(certificate))
                project.uses[key].add(link)
                project.targets[key].update(places.get(link, ()))


async def _rules(project: Project) -> dict[str, set[str]]:
    """Where each proxy listens."""
    found: dict[str, set[str]] = {}
    async for each in _listed(project, "forwardingRules"):
        address, proxy = str(each.get("IPAddress") or ""), _key(str(each.get("target") or ""))
        if not address or "Proxies/" not in proxy:
            continue
        shown = f"[{address}]" if ":" in address else address
        for port in _ports(each):
            found.setdefault(proxy, set()).add(f"{shown}:{port}")
    return found


def _ports(rule: Mapping[str, Any]) -> list[int]:
    texts = [str(each) for each in rule.get("ports") or ()] or [str(rule.get("portRange") or "")]
    found: list[int] = []
    for text in texts:
        first, _, end = text.partition("-")
        if first.isdigit() and (not end or end == first) and 0 < int(first) < 65536:
            found.append(int(first))
    return found[:_MOST_PORTS]


async def _listed(project: Project, kind: str) -> AsyncIterator[Mapping[str, Any]]:
    """Global and regional. SSL proxies are global only, and have no aggregated listing."""
    where = "global" if kind == "targetSslProxies" else "aggregated"
    path = f"/compute/v1/projects/{project.id}/{where}/{kind}"
    async for page in project.pages(SERVICE, path, _PARTIAL):
        project.uses_incomplete |= bool(page.get("unreachables"))
        items = page.get("items") or {}
        if isinstance(items, list):
            for each in items:
                yield each
            continue
        for held in items.values():
            for each in held.get(kind) or ():
                yield each


def _key(link: str) -> str:
    """Links are written with different hosts and versions: what stands from `projects/` on tells them apart."""
    return link.partition("/projects/")[2] or link
