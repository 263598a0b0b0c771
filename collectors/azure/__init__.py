"""Azure: Key Vault, App Service, application gateways and Front Door, over many subscriptions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

from certwatch.doors.json_api import Limits, RestClient, RestError
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors.azure import key_vault, resources
from collectors.azure.config import AzureConfig, ServiceName
from collectors.azure.credentials import Tokens
from collectors.azure.subscription import Subscription, listed, scope, scope_of
from collectors.guarded import FAILURES, told
from collectors.scopes import known_scopes
from collectors.several import Put, Said, several

__all__ = ["AzureCollector", "AzureConfig"]

SUBSCRIPTIONS = "2022-12-01"
#: Resource Manager, and how vaults' names end.
_CLOUDS = {
    "public": ("https://management.azure.com", "vault.azure.net"),
    "china": ("https://management.chinacloudapi.cn", "vault.azure.cn"),
    "government": ("https://management.usgovcloudapi.net", "vault.usgovcloudapi.net"),
}
_LOOKS: Mapping[ServiceName, Callable[[Subscription], AsyncIterator[Observation]]] = {
    "app-service": resources.app_service,
    "application-gateway": resources.application_gateway,
    "front-door": resources.front_door,
}
_PART = 200


class AzureCollector:
    """Locations: `azure://SUBSCRIPTION/SERVICE/…`; scopes: `SUBSCRIPTION/SERVICE`, of vaults `SUBSCRIPTION/keyvault/VAULT`."""

    Config: ClassVar[type[CollectorConfig]] = AzureConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, AzureConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not AzureConfig")
        self._name = name
        self._config = config
        self._context = context
        #: By subscription. Owned by the event loop's thread.
        self._memory: dict[str, dict[Any, Any]] = {}

    async def collect(self) -> AsyncIterator[Said]:
        config = self._config
        origin, suffix = _CLOUDS[config.cloud]
        shared: dict[str, Any] = {}
        limits = Limits(
            rate=config.rate,
            attempts=config.attempts,
            timeout=config.timeout,
            concurrency=config.concurrency,
        )
        vault_tokens = Tokens(config, f"https://{suffix}/.default", shared)
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(
                RestClient(
                    "azure-manager",
                    config.endpoint or origin,
                    clock=self._context.clock,
                    credentials=Tokens(config, f"{origin}/.default", shared),
                    limits=limits,
                )
            )
            vaults: dict[str, RestClient] = {}

            def vault(uri: str) -> RestClient:
                uri = uri.rstrip("/")
                if uri not in vaults:
                    self._check(uri, suffix)
                    vaults[uri] = RestClient(
                        "azure-keyvault",
                        uri,
                        clock=self._context.clock,
                        credentials=vault_tokens,
                        limits=limits,
                    )
                    stack.push_async_exit(vaults[uri])
                return vaults[uri]

            try:
                found = await self._subscriptions(manager)
            except FAILURES as failure:
                error = told(failure, where=self._name)
                raise CollectError(error.kind, error.message) from failure
            works = [partial(self._subscription, manager, vault, id, name) for id, name in found]
            done = 0
            async with aclosing(several(works, at_once=config.concurrency)) as stream:
                async for each in stream:
                    done += 1
                    self._context.progress(done, None)
                    yield each

    def _check(self, uri: str, suffix: str) -> None:
        """A token for vaults goes to vaults only. Raises RestError."""
        parts = urlsplit(uri)
        host = parts.hostname or ""
        if self._config.endpoint is None and (parts.scheme != "https" or not host.endswith(f".{suffix}")):
            raise RestError(
                "permission", f"{uri[:200]!r} is no address of a vault ({suffix}), and is not asked."
            )

    async def _subscriptions(self, manager: RestClient) -> list[tuple[str, str]]:
        """Id and name. Raises RestError."""
        config = self._config
        found = [
            (str(each["subscriptionId"]), str(each.get("displayName") or each["subscriptionId"]))
            async for each in listed(manager, "/subscriptions", {"api-version": SUBSCRIPTIONS})
            if each.get("state") in (None, "Enabled", "Warned", "PastDue")
        ]
        if not found and config.subscriptions is None:
            # So it looks as well when a role was taken away; everything would be taken for gone.
            raise RestError(
                "permission", "the identity sees no subscription at all. Assign the role (docs/cloud.md)"
            )
        if config.subscriptions is not None:
            names = dict(found)
            found = [(each, names.get(each, each)) for each in config.subscriptions]
        return [each for each in found if each[0] not in config.exclude_subscriptions]

    async def _subscription(
        self, manager: RestClient, vault: Callable[[str], RestClient], id: str, name: str, put: Put
    ) -> None:
        subscription = Subscription(
            id=id,
            name=name,
            config=self._config,
            clock=self._context.clock,
            manager=manager,
            vault=vault,
            memory=self._memory.setdefault(id, {}),
        )
        for service in self._config.services:
            if service == "keyvault":
                await self._vaults(subscription, put)
            else:
                await self._looked(subscription, (service,), _LOOKS[service](subscription), put)

    async def _vaults(self, subscription: Subscription, put: Put) -> None:
        try:
            found = [(str(each["name"]), each) async for each in key_vault.vaults(subscription)]
        except FAILURES as failure:
            error = self._told(subscription, "keyvault", failure)
            await self._failed(subscription, ("keyvault",), error, put)
            return
        for name, each in found:
            await self._looked(subscription, ("keyvault", name), key_vault.look(subscription, each), put)

    async def _looked(
        self,
        subscription: Subscription,
        where: tuple[str, ...],
        look: AsyncIterator[Observation],
        put: Put,
    ) -> None:
        part: list[Said] = []
        failed: LookError | None = None
        try:
            async for each in look:
                part.append(each)
                if len(part) >= _PART:
                    await put(part)
                    part = []
        except FAILURES as failure:
            failed = self._told(subscription, "/".join(where), failure)
        await put(part)
        if failed is not None:
            await self._failed(subscription, where, failed, put)

    def _told(self, subscription: Subscription, where: str, failure: Exception) -> LookError:
        grant = "Grant it (deploy/azure/), or leave it out of `services`."
        return told(failure, where=f"{self._name}: subscription {subscription.name}: {where}", grant=grant)

    async def _failed(
        self, subscription: Subscription, where: tuple[str, ...], error: LookError, put: Put
    ) -> None:
        own = scope(subscription.id, *where)
        known = await asyncio.to_thread(known_scopes, self._context.view, self._name, scope_of, own)
        concerned = {own, *(each for each in known if each == own or each.startswith(f"{own}/"))}
        await put([Incomplete(scope=each, error=error) for each in sorted(concerned)])
