"""Certificate Authority Service: CAs of each pool, and what the pool issued."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from certwatch.model.instants import read_instant
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, Observation
from certwatch.x509 import der
from collectors.gcp.project import Project, certificates, last, location_of, scope, unreachable

SERVICE = "private-ca"
ISSUED = "private-ca/issued"
PAGE = 1000
_EXPIRED = timedelta(days=30)
_REASONS = {
    "KEY_COMPROMISE": "keyCompromise",
    "CERTIFICATE_AUTHORITY_COMPROMISE": "cACompromise",
    "AFFILIATION_CHANGED": "affiliationChanged",
    "SUPERSEDED": "superseded",
    "CESSATION_OF_OPERATION": "cessationOfOperation",
    "CERTIFICATE_HOLD": "certificateHold",
    "PRIVILEGE_WITHDRAWN": "privilegeWithdrawn",
    "ATTRIBUTE_AUTHORITY_COMPROMISE": "aACompromise",
}


async def look(project: Project) -> AsyncIterator[Observation | Incomplete]:
    """Raises RestError."""
    for location in project.config.locations:
        path = f"/v1/projects/{project.id}/locations/{location}/caPools"
        async for page in project.pages(SERVICE, path, {"pageSize": PAGE}):
            for unseen in page.get("unreachable") or ():
                for service in (SERVICE, ISSUED):
                    for each in unreachable(project.id, service, [unseen]):
                        yield each
            for pool in page.get("caPools") or ():
                async for said in _pool(project, pool):
                    yield said


async def _pool(project: Project, pool: Mapping[str, Any]) -> AsyncIterator[Observation | Incomplete]:
    name = str(pool["name"])
    location = location_of(name)
    async for page in project.pages(SERVICE, f"/v1/{name}/certificateAuthorities", {"pageSize": PAGE}):
        for each in unreachable(project.id, SERVICE, [location] if page.get("unreachable") else ()):
            yield each
        for authority in page.get("certificateAuthorities") or ():
            if authority.get("state") != "DELETED":
                yield _authority(project, pool, authority)
    # Pools of this tier keep nothing of what they issue.
    if not project.config.issued or pool.get("tier") == "DEVOPS":
        return
    async for page in project.pages(SERVICE, f"/v1/{name}/certificates", {"pageSize": PAGE}):
        for each in unreachable(project.id, ISSUED, [location] if page.get("unreachable") else ()):
            yield each
        for issued in page.get("certificates") or ():
            seen = _issued(project, name, location, issued)
            if seen is not None:
                yield seen


def _authority(project: Project, pool: Mapping[str, Any], each: Mapping[str, Any]) -> Observation:
    name = str(each["name"])
    return project.look(
        location_of(name),
        SERVICE,
        last(str(pool["name"])),
        last(name),
        chain=certificates(*(each.get("pemCaCertificates") or ())),
        facts={
            "gcp_state": each.get("state"),
            "gcp_type": each.get("type"),
            "gcp_tier": each.get("tier") or pool.get("tier"),
        },
        labels=each.get("labels") or pool.get("labels"),
        name=name,
    )


def _issued(project: Project, pool: str, location: str, each: Mapping[str, Any]) -> Observation | None:
    """None: it has ended long ago, or cannot be read."""
    chain = certificates(each.get("pemCertificate"))[:1]
    if not chain:
        return None
    certificate = der.read(chain[0])
    now = project.clock()
    if certificate.not_after is not None and certificate.not_after < now - _EXPIRED:
        return None
    revoked = each.get("revocationDetails") or {}
    facts: dict[str, Fact] = {"ca_status": "revoked" if revoked else "issued", "gcp_name": str(each["name"])}
    if revoked:
        reason = str(revoked.get("revocationState") or "")
        if reason in _REASONS:
            facts["revocation_reason"] = _REASONS[reason]
        at = read_instant(revoked.get("revocationTime"))
        if at is not None:
            facts["revoked_at"] = at.isoformat().replace("+00:00", "Z")
    template = str(each.get("certificateTemplate") or "")
    if template:
        facts["ca_profile"] = last(template)[:100]
    serial = certificate.serial_hex or certificate.fingerprint_sha256.hex()
    return Observation(
        location=LocationURI(
            f"cadb://{quote(project.collector, safe='')}/{serial}?ca={project.id}/{location}/{quote(last(pool), safe='')}"
        ),
        observed_at=now,
        chain=chain,
        facts=facts,
        labels=project.labels(each.get("labels"), location),
        scope=scope(project.id, location, ISSUED),
    )
