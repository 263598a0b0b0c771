"""The kubernetes collector in a test's hands: looked at once, or followed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from certwatch.model.observation import Gone, Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import collect
from collectors.kubernetes import KubernetesCollector, KubernetesConfig
from tests.support.kubernetes import APIServer
from tests.support.servers import until

TLS = "kubernetes.io/tls"


def tls(issued: Any) -> dict[str, bytes]:
    return {"tls.crt": issued.chain_pem, "tls.key": issued.key_pem}


def config(server: APIServer, *namespaces: str, **more: Any) -> dict[str, Any]:
    return {
        "kubeconfig": str(server.kubeconfig()),
        "namespaces": list(namespaces),
        "sources": ["secrets"],
        **more,
    }


async def look(server: APIServer, *namespaces: str, **more: Any) -> dict[str, Observation]:
    said = await collect(KubernetesCollector, config(server, *namespaces, **more))
    assert not [each for each in said if isinstance(each, Incomplete)]
    return {each.location: each for each in said if isinstance(each, Observation)}


class Following:
    """A collector that has looked once and goes on."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.collector = KubernetesCollector(
            "prod",
            KubernetesConfig.model_validate(settings),
            CollectorContext(clock=lambda: datetime.now(UTC)),
        )
        self.changes: AsyncGenerator[Observation | Gone, None] | None = None

    async def scan(self) -> list[Observation | Incomplete]:
        stream = cast("AsyncGenerator[Observation | Incomplete, None]", self.collector.collect())
        async with aclosing(stream):
            return [each async for each in stream]

    async def is_followed(self, resource: str) -> bool:
        """The server has accepted its watch."""
        clusters = self.collector._clusters or []
        return any(each.resource.plural == resource for one in clusters for each in one._followed)

    async def until_followed(self, resource: str) -> None:
        await until(lambda: self.is_followed(resource), what=f"{resource} followed")

    async def next(self, seconds: float = 20) -> Observation | Gone:
        if self.changes is None:
            self.changes = cast("AsyncGenerator[Observation | Gone, None]", self.collector.follow())
        async with asyncio.timeout(seconds):
            return await anext(self.changes)


@asynccontextmanager
async def following(settings: dict[str, Any]) -> AsyncIterator[Following]:
    it = Following(settings)
    await it.scan()
    try:
        yield it
    finally:
        if it.changes is not None:
            await it.changes.aclose()
