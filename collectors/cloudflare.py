"""Cloudflare: certificates at the edge, origin certificates, and those that clients or Cloudflare itself authenticate with."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import quote

from pydantic import Field, SecretStr

from certwatch.doors.json_api import Limits, RestClient, RestError
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, Observation
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors import stored_value
from collectors.guarded import FAILURES, guarded, told
from collectors.served_at import served_at

ServiceName = Literal["edge", "origin-ca", "origin-pulls", "mtls", "custom-hostnames", "client-certificates"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
API = "https://api.cloudflare.com/client/v4"
#: What every listing gives at once.
PAGE = 50
_GRANT = "Give the token that permission (docs/cloud.md), or leave it out of `services`."
_LONGEST = 300


class CloudflareConfig(CollectorConfig):
    #: An API token.
    token: SecretStr
    #: Names. None: every active zone that the token may see.
    zones: tuple[str, ...] | None = None
    exclude_zones: tuple[str, ...] = ()
    services: tuple[ServiceName, ...] = SERVICES[:4]
    #: Keys of a custom hostname's metadata that say who answers, in this order.
    owner_keys: tuple[str, ...] = ("owner", "team")
    #: Requests a second: Cloudflare allows 1,200 in five minutes.
    rate: float = Field(default=3, gt=0, le=10_000)
    #: Attempts at a request that is throttled or fails.
    attempts: int = Field(default=6, ge=1, le=20)
    #: Seconds for one answer.
    timeout: float = Field(default=30, gt=0, le=600)
    #: In place of Cloudflare's address: a proxy.
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    id: str
    name: str
    account: str
    account_name: str


class CloudflareCollector:
    """Locations: `cloudflare://ZONE/SERVICE/ID`, and of an account `cloudflare://ACCOUNT-ID/mtls/ID`; scopes: the first two of
    these."""

    Config: ClassVar[type[CollectorConfig]] = CloudflareConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, CloudflareConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not CloudflareConfig")
        self._name = name
        self._config = config
        self._context = context

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        config = self._config
        client = RestClient(
            "cloudflare",
            config.endpoint or API,
            clock=self._context.clock,
            limits=Limits(rate=config.rate, attempts=config.attempts, timeout=config.timeout, concurrency=1),
            headers={"Authorization": f"Bearer {config.token.get_secret_value()}"},
        )
        done = 0
        async with client:
            look = _Look(client, config, self._context.clock)
            try:
                zones = await look.zones()
            except FAILURES as failure:
                error = told(failure, where=self._name)
                raise CollectError(error.kind, error.message) from failure
            for service, place, work in _works(look, zones):
                scope = f"{place}/{service}"
                async for each in guarded(
                    work(), where=f"{self._name}: {place}: {service}", scope=scope, grant=_GRANT
                ):
                    done += 1
                    self._context.progress(done, None)
                    yield each


def _works(
    look: "_Look", zones: list[Zone]
) -> list[tuple[ServiceName, str, Callable[[], AsyncIterator[Observation]]]]:
    services = look.config.services
    of_a_zone: Mapping[ServiceName, Callable[[Zone], AsyncIterator[Observation]]] = {
        "edge": look.edge,
        "origin-ca": look.origin_ca,
        "origin-pulls": look.origin_pulls,
        "custom-hostnames": look.custom_hostnames,
        "client-certificates": look.client_certificates,
    }
    found: list[tuple[ServiceName, str, Callable[[], AsyncIterator[Observation]]]] = []
    for zone in zones:
        for service in services:
            if service in of_a_zone:
                work = of_a_zone[service]
                found.append((service, zone.name, lambda work=work, zone=zone: work(zone)))  # type: ignore[misc]
    if "mtls" in services:
        accounts = {zone.account: zone for zone in zones if zone.account}
        for id, zone in accounts.items():
            found.append(("mtls", id, lambda zone=zone: look.mtls(zone)))  # type: ignore[misc]
    return found


class _Look:
    def __init__(self, client: RestClient, config: CloudflareConfig, clock: Clock) -> None:
        self.config = config
        self._client = client
        self._clock = clock

    async def zones(self) -> list[Zone]:
        """Raises RestError: also if one that is named is not to be had."""
        found: dict[str, Zone] = {}
        async for each in self._listed("/zones", {}):
            account = each.get("account") or {}
            if each["status"] == "active":
                name = str(each["name"])
                found[name] = Zone(
                    id=str(each["id"]),
                    name=name,
                    account=str(account.get("id") or ""),
                    account_name=str(account.get("name") or account.get("id") or ""),
                )
        wanted = self.config.zones
        missing = [each for each in wanted or () if each not in found]
        if wanted is None and not found:
            # So it looks as well when a permission was taken away; everything would be taken for gone.
            raise RestError("permission", "the token sees no active zone at all. Give it Zone:Read")
        if missing:
            raise RestError(
                "not-found",
                f"the token sees no active zone {', '.join(missing)[:200]}. Give it Zone:Read for it, or take it out of `zones`.",
            )
        return [
            found[each]
            for each in (wanted if wanted is not None else sorted(found))
            if each not in self.config.exclude_zones
        ]

    async def _listed(self, path: str, query: Mapping[str, str | int]) -> AsyncIterator[Mapping[str, Any]]:
        """Raises RestError."""
        query = {**query, "per_page": PAGE}

        def following(page: Mapping[str, Any]) -> tuple[str, Mapping[str, str | int]] | None:
            about = page.get("result_info") or {}
            number, last = int(about.get("page") or 1), about.get("total_pages")
            full = len(page.get("result") or ()) >= PAGE
            more = number < int(last) if last is not None else full
            return (path, {**query, "page": number + 1}) if more else None

        async for page in self._client.pages(path, {**query, "page": 1}, following=following):
            if page.get("success") is not True:
                said = next((str(each.get("message")) for each in page.get("errors") or ()), "no success")
                raise RestError("other", f"{path}: {said[:_LONGEST]}.")
            for each in page.get("result") or ():
                yield each

    async def edge(self, zone: Zone) -> AsyncIterator[Observation]:
        """What Cloudflare keeps up by itself, and what was uploaded. It gives no certificate of either."""
        async for pack in self._listed(f"/zones/{zone.id}/ssl/certificate_packs", {"status": "all"}):
            status = str(pack.get("status") or "")
            # It has its certificate in `custom_certificates`.
            if "custom" in str(pack.get("type")) or status in ("deleted", "pending_deletion"):
                continue
            yield self._pack(zone, pack, status)
        async for each in self._listed(f"/zones/{zone.id}/custom_certificates", {}):
            status = str(each.get("status") or "")
            if status == "deleted":
                continue
            yield self._look(
                zone.name,
                "edge",
                str(each["id"]),
                facts={
                    **_used(zone, status == "active", each.get("hosts")),
                    "renewal_managed": False,
                    "cloudflare_status": status or None,
                    "cloudflare_type": "custom",
                    "cloudflare_issuer": each.get("issuer"),
                    "cloudflare_not_after": each.get("expires_on"),
                    "cloudflare_priority": each.get("priority"),
                },
                zone=zone,
            )

    def _pack(self, zone: Zone, pack: Mapping[str, Any], status: str) -> Observation:
        certificates = pack.get("certificates") or []
        primary = next(
            (each for each in certificates if each.get("id") == pack.get("primary_certificate")),
            certificates[0] if certificates else {},
        )
        reasons = [str(each.get("message")) for each in pack.get("validation_errors") or ()]
        renewal = _renewal(status)
        hosts = [str(each) for each in pack.get("hosts") or ()]
        return self._look(
            zone.name,
            "edge",
            str(pack["id"]),
            facts={
                **_used(zone, status == "active", hosts),
                "renewal_managed": True,
                "renewal": renewal,
                "renewal_reason": " ".join(reasons)[:_LONGEST] or None,
                "renewal_unvalidated": " ".join(sorted(hosts)[:20]) or None
                if reasons or status in ("pending_validation", "validation_timed_out")
                else None,
                "cloudflare_status": status or None,
                "cloudflare_type": pack.get("type"),
                "cloudflare_authority": pack.get("certificate_authority"),
                "cloudflare_issuer": primary.get("issuer"),
                "cloudflare_not_after": primary.get("expires_on"),
            },
            zone=zone,
        )

    async def custom_hostnames(self, zone: Zone) -> AsyncIterator[Observation]:
        """Customers' names (SSL for SaaS)."""
        async for each in self._listed(f"/zones/{zone.id}/custom_hostnames", {}):
            ssl, host = each.get("ssl") or {}, str(each["hostname"])
            status = str(ssl.get("status") or "")
            reasons = [str(it.get("message")) for it in ssl.get("validation_errors") or ()]
            metadata = each.get("custom_metadata") or {}
            owner = next(
                (str(metadata[key])[:200] for key in self.config.owner_keys if metadata.get(key)), None
            )
            uploaded = ssl.get("custom_certificate")
            yield self._look(
                zone.name,
                "custom-hostnames",
                host,
                chain=stored_value.chain(uploaded) if isinstance(uploaded, str) else (),
                facts={
                    **_used(zone, status == "active", [host]),
                    "renewal_managed": not uploaded,
                    "renewal": _renewal(status),
                    "renewal_reason": " ".join(reasons)[:_LONGEST] or None,
                    "renewal_unvalidated": host
                    if reasons or status in ("pending_validation", "validation_timed_out")
                    else None,
                    "cloudflare_status": status or None,
                    "cloudflare_issuer": ssl.get("issuer"),
                    "cloudflare_not_after": ssl.get("expires_on"),
                },
                zone=zone,
                owner=owner,
            )

    async def origin_ca(self, zone: Zone) -> AsyncIterator[Observation]:
        """What Cloudflare's own CA issued for servers behind it."""
        async for each in self._listed("/certificates", {"zone_id": zone.id}):
            yield self._look(
                zone.name,
                "origin-ca",
                str(each["id"]),
                chain=_chain(each.get("certificate")),
                facts={"cloudflare_request_type": each.get("request_type")},
                zone=zone,
            )

    async def origin_pulls(self, zone: Zone) -> AsyncIterator[Observation]:
        """What Cloudflare authenticates itself with at the servers behind it."""
        for path in ("origin_tls_client_auth", "origin_tls_client_auth/hostnames/certificates"):
            async for each in self._listed(f"/zones/{zone.id}/{path}", {}):
                status = str(each.get("status") or "")
                if status == "deleted":
                    continue
                yield self._look(
                    zone.name,
                    "origin-pulls",
                    str(each["id"]),
                    chain=_chain(each.get("certificate")),
                    facts={
                        "in_use": status == "active",
                        "in_use_by": zone.name if status == "active" else None,
                        "cloudflare_status": status or None,
                    },
                    zone=zone,
                )

    async def client_certificates(self, zone: Zone) -> AsyncIterator[Observation]:
        """What clients authenticate themselves with (API Shield)."""
        async for each in self._listed(f"/zones/{zone.id}/client_certificates", {"status": "active"}):
            yield self._look(
                zone.name,
                "client-certificates",
                str(each["id"]),
                chain=_chain(each.get("certificate")),
                facts={"cloudflare_status": each.get("status")},
                zone=zone,
            )

    async def mtls(self, zone: Zone) -> AsyncIterator[Observation]:
        """Uploaded to an account: CAs that clients are verified by, certificates for Workers."""
        async for each in self._listed(f"/accounts/{zone.account}/mtls_certificates", {}):
            is_ca = each.get("ca") is True
            yield self._look(
                zone.account,
                "mtls",
                str(each["id"]),
                chain=_chain(each.get("certificates")),
                facts={
                    "cloudflare_name": each.get("name"),
                    "cloudflare_ca": is_ca,
                    "arrangement": "bundle" if is_ca else None,
                },
                account=zone.account_name,
            )

    def _look(
        self,
        place: str,
        service: ServiceName,
        id: str,
        *,
        chain: tuple[bytes, ...] = (),
        facts: Mapping[str, Fact | None],
        zone: Zone | None = None,
        account: str = "",
        owner: str | None = None,
    ) -> Observation:
        steps = "/".join(quote(each, safe="") for each in (place, service, id))
        return Observation(
            location=LocationURI(f"cloudflare://{steps}"),
            observed_at=self._clock(),
            chain=chain,
            facts={key: value for key, value in facts.items() if value is not None},
            labels={
                "account": zone.account_name if zone is not None else account,
                **({"zone": zone.name} if zone is not None else {}),
                **({"owner": owner} if owner else {}),
            },
            scope=f"{place}/{service}",
        )


def _used(zone: Zone, active: bool, hosts: object) -> dict[str, Fact | None]:
    names = [str(each) for each in hosts] if isinstance(hosts, list) else []
    return {
        "in_use": active,
        "in_use_by": zone.name if active else None,
        "tls_targets": served_at(names) if active else None,
    }


def _renewal(status: str) -> str | None:
    if status in ("active", "staging_active", "backup_issued"):
        return "ok"
    if status == "expired" or status.endswith("_timed_out"):
        return "failed"
    return "pending" if status == "initializing" or status.startswith("pending_") else None


def _chain(value: object) -> tuple[bytes, ...]:
    return stored_value.chain(value) if isinstance(value, str) else ()
