"""Fastly: uploaded and managed certificates, and the domains that they are served for."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
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

ServiceName = Literal["certificates", "subscriptions", "platform"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
API = "https://api.fastly.com"
#: It gives no more at once.
PAGE = 100
_GRANT = "Give the token's user TLS management, or leave it out of `services`."
_MOST = 20
_STATES = {
    "pending": "pending",
    "processing": "pending",
    "retry": "pending",
    "renewing": "pending",
    "issued": "ok",
    "failed": "failed",
}


class FastlyConfig(CollectorConfig):
    #: An API token with the scope global:read.
    token: SecretStr
    services: tuple[ServiceName, ...] = SERVICES[:2]
    #: Requests a second.
    rate: float = Field(default=5, gt=0, le=10_000)
    #: Attempts at a request that is throttled or fails.
    attempts: int = Field(default=6, ge=1, le=20)
    #: Seconds for one answer.
    timeout: float = Field(default=30, gt=0, le=600)
    #: In place of Fastly's address: a proxy.
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None


class FastlyCollector:
    """Locations: `fastly://CUSTOMER/SERVICE/ID`; scopes: `CUSTOMER/SERVICE`."""

    Config: ClassVar[type[CollectorConfig]] = FastlyConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, FastlyConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not FastlyConfig")
        self._name = name
        self._config = config
        self._context = context

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        config = self._config
        client = RestClient(
            "fastly",
            config.endpoint or API,
            clock=self._context.clock,
            limits=Limits(rate=config.rate, attempts=config.attempts, timeout=config.timeout, concurrency=1),
            headers={"Fastly-Key": config.token.get_secret_value()},
        )
        done = 0
        async with client:
            look = _Look(client, self._context.clock)
            try:
                await look.read_customer()
            except FAILURES as failure:
                error = told(failure, where=self._name)
                raise CollectError(error.kind, error.message) from failure
            if "certificates" in config.services:
                try:
                    await look.read_activations()
                except FAILURES as failure:
                    # Nothing is missing but who uses them: unknown is not unused.
                    yield Incomplete(
                        scope=f"{look.customer}/activations",
                        error=told(failure, where=f"{self._name}: activations", grant=_GRANT),
                    )
            works = {
                "certificates": look.certificates,
                "subscriptions": look.subscriptions,
                "platform": look.platform,
            }
            for service in config.services:
                async for each in guarded(
                    works[service](),
                    where=f"{self._name}: {service}",
                    scope=f"{look.customer}/{service}",
                    grant=_GRANT,
                ):
                    done += 1
                    self._context.progress(done, None)
                    yield each


class _Look:
    def __init__(self, client: RestClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.customer = ""
        self._customer_name = ""
        #: Domains by the id of their certificate. None: not known.
        self._uses: dict[str, set[str]] | None = None

    async def read_customer(self) -> None:
        """Whose token it is. Raises RestError."""
        said = await self._client.get("/current_customer")
        if not isinstance(said, Mapping) or not isinstance(said.get("id"), str):
            raise RestError("malformed", "/current_customer: does not say who the customer is.")
        self.customer = said["id"]
        self._customer_name = str(said.get("name") or self.customer)

    async def read_activations(self) -> None:
        """Raises RestError."""
        found: dict[str, set[str]] = defaultdict(set)
        async for each in self._listed("/tls/activations"):
            for certificate in _related(each, "tls_certificate"):
                found[certificate].update(_related(each, "tls_domain"))
        self._uses = found

    async def _listed(self, path: str, **query: str) -> AsyncIterator[Mapping[str, Any]]:
        """Raises RestError."""
        async for page in self._pages(path, **query):
            # Always there, also if it is empty (JSON:API).
            for each in page["data"] or ():
                yield each

    async def _pages(self, path: str, **query: str) -> AsyncIterator[Mapping[str, Any]]:
        """Raises RestError."""

        def following(page: Mapping[str, Any]) -> tuple[str, None] | None:
            link = (page.get("links") or {}).get("next")
            return (str(link), None) if link else None

        async for page in self._client.pages(path, {**query, "page[size]": PAGE}, following=following):
            yield page

    async def certificates(self) -> AsyncIterator[Observation]:
        """Uploaded, and those behind subscriptions. Fastly gives names and dates, and not the certificate."""
        async for each in self._listed("/tls/certificates"):
            id, own = str(each["id"]), each.get("attributes") or {}
            domains = sorted(self._uses.get(id, ())) if self._uses is not None else None
            yield self._look(
                "certificates",
                id,
                chain=_chain(own.get("cert_blob")),
                facts={
                    "in_use": bool(domains) if domains is not None else None,
                    "in_use_by": " ".join(domains[:_MOST]) or None if domains is not None else None,
                    "tls_targets": served_at(domains or ()),
                    **_described(own),
                },
            )

    async def platform(self) -> AsyncIterator[Observation]:
        """Certificates of Platform TLS."""
        async for each in self._listed("/tls/bulk/certificates"):
            domains = _related(each, "tls_domains")
            yield self._look(
                "platform",
                str(each["id"]),
                chain=_chain((each.get("attributes") or {}).get("cert_blob")),
                facts={
                    "in_use": bool(domains),
                    "in_use_by": " ".join(domains[:_MOST]) or None,
                    "tls_targets": served_at(domains),
                    **_described(each.get("attributes") or {}),
                },
            )

    async def subscriptions(self) -> AsyncIterator[Observation]:
        """What Fastly gets and renews by itself."""
        async for page in self._pages("/tls/subscriptions", include="tls_authorizations"):
            waiting = {
                str(each["id"]): each.get("attributes") or {}
                for each in page.get("included") or ()
                if each.get("type") == "tls_authorization"
            }
            for each in page["data"] or ():
                own = each.get("attributes") or {}
                domains = _related(each, "tls_domains")
                state = str(own.get("state") or "")
                authorizations = [waiting.get(id, {}) for id in _related(each, "tls_authorizations")]
                names, warnings = _unvalidated(authorizations)
                yield self._look(
                    "subscriptions",
                    str(each["id"]),
                    facts={
                        "in_use_by": " ".join(domains[:_MOST]) or None,
                        "tls_targets": served_at(domains) if state in ("issued", "renewing") else None,
                        "renewal_managed": True,
                        "renewal": _STATES.get(state),
                        "renewal_since": own.get("updated_at") if state != "issued" else None,
                        "renewal_unvalidated": " ".join(names[:_MOST]) or None if state != "issued" else None,
                        "renewal_reason": " ".join(warnings)[:300] or None,
                        "fastly_state": state or None,
                        "fastly_authority": own.get("certificate_authority"),
                    },
                )

    def _look(
        self,
        service: ServiceName,
        id: str,
        *,
        chain: tuple[bytes, ...] = (),
        facts: Mapping[str, Fact | None],
    ) -> Observation:
        steps = "/".join(quote(each, safe="") for each in (self.customer, service, id))
        return Observation(
            location=LocationURI(f"fastly://{steps}"),
            observed_at=self._clock(),
            chain=chain,
            facts={key: value for key, value in facts.items() if value is not None},
            labels={"account": self._customer_name},
            scope=f"{self.customer}/{service}",
        )


def _described(own: Mapping[str, Any]) -> dict[str, Fact | None]:
    return {
        "fastly_name": own.get("name"),
        "fastly_issued_to": own.get("issued_to"),
        "fastly_issuer": own.get("issuer"),
        "fastly_serial": own.get("serial_number"),
        "fastly_not_after": own.get("not_after"),
        # Another one covers all that it is for.
        "fastly_replaced": own.get("replace") if isinstance(own.get("replace"), bool) else None,
    }


def _related(each: Mapping[str, Any], kind: str) -> list[str]:
    """Ids of what a resource names, one or several (JSON:API)."""
    found = ((each.get("relationships") or {}).get(kind) or {}).get("data") or ()
    return sorted(str(it["id"]) for it in ([found] if isinstance(found, Mapping) else found))


def _unvalidated(authorizations: list[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Names that wait for their DNS records, and what Fastly says of them."""
    names: set[str] = set()
    warnings: list[str] = []
    for each in authorizations:
        if each.get("state") in (None, "passed"):
            continue
        for challenge in each.get("challenges") or ():
            names.add(str(challenge.get("record_name") or "").removeprefix("_acme-challenge."))
        warnings += [str(it.get("instructions") or it.get("type")) for it in each.get("warnings") or ()]
    return sorted(names - {""}), warnings


def _chain(value: object) -> tuple[bytes, ...]:
    return stored_value.chain(value) if isinstance(value, str) else ()
