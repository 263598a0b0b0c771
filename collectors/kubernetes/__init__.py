"""Kubernetes: every certificate of a cluster, in whatever object it stands; listed in pages, then watched."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from certwatch.doors.kubernetes import Access, AccessError, Client, contexts, from_kubeconfig, in_cluster
from certwatch.doors.kubernetes.access import current_context, kubeconfig_path
from certwatch.model.observation import Gone, Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors.kubernetes.cluster import Cluster
from collectors.kubernetes.config import KubernetesConfig
from collectors.kubernetes.reflector import Change
from collectors.kubernetes.resources import watches

__all__ = ["KubernetesCollector", "KubernetesConfig"]

#: Parts of a scan, and changes, that wait to be taken.
_PARTS = 4
_CHANGES = 100
_OTHER_CONNECTIONS = 20


class KubernetesCollector:
    """Locations: `k8s://CLUSTER/NAMESPACE/KIND/NAME?key=KEY`; scopes are `CLUSTER/RESOURCE`, or with configured
    namespaces `CLUSTER/NAMESPACE/RESOURCE`."""

    Config: ClassVar[type[CollectorConfig]] = KubernetesConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, KubernetesConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not KubernetesConfig")
        self._name = name
        self._config = config
        self._context = context
        # Made by the first run. Owned by the event loop's thread.
        self._clusters: list[Cluster] | None = None
        #: Runs that use the connections: the last one closes them.
        self._users = 0

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        clusters = await self._ready()
        parts: asyncio.Queue[Sequence[Observation | Incomplete] | None] = asyncio.Queue(_PARTS)
        self._users += 1
        work = asyncio.create_task(self._look(clusters, parts))
        done = 0
        try:
            while (part := await parts.get()) is not None:
                for each in part:
                    yield each
                done += len(part)
                self._context.progress(done, None)
            failed = await work
        finally:
            work.cancel()
            await asyncio.wait([work])
            await self._release(clusters)
        if failed and len(failed) == len(clusters):
            raise CollectError(failed[0].kind, "; ".join(each.message for each in failed[:3]))

    async def _look(
        self, clusters: Sequence[Cluster], parts: "asyncio.Queue[Sequence[Observation | Incomplete] | None]"
    ) -> list[LookError]:
        """Why clusters could not be looked at at all, of those."""
        try:
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(each.look(parts.put)) for each in clusters]
            return [why for each in looks if (why := each.result()) is not None]
        finally:
            # Full: then nobody takes any more, or there are some yet to be taken before this.
            with suppress(asyncio.CancelledError):
                await parts.put(None)

    async def follow(self) -> AsyncIterator[Observation | Gone]:
        clusters = await self._ready()
        changes: asyncio.Queue[Sequence[Change]] = asyncio.Queue(_CHANGES)
        self._users += 1
        work = asyncio.create_task(_follow(clusters, changes))
        try:
            while True:
                taking = asyncio.ensure_future(changes.get())
                try:
                    await asyncio.wait([taking, work], return_when=asyncio.FIRST_COMPLETED)
                    if not taking.done():
                        # Followers never end by themselves: this raises what ended them.
                        await work
                        return
                finally:
                    taking.cancel()
                for each in taking.result():
                    yield each
        finally:
            work.cancel()
            await asyncio.wait([work])
            await self._release(clusters)

    async def _release(self, clusters: Sequence[Cluster]) -> None:
        self._users -= 1
        if not self._users:
            for each in clusters:
                await each.client.__aexit__()

    async def _ready(self) -> list[Cluster]:
        """Raises CollectError."""
        if self._clusters is None:
            try:
                named = await asyncio.to_thread(self._named)
            except AccessError as error:
                raise CollectError("not-found", f"{self._name}: {error}") from error
            # Each watch keeps a connection; lists and passphrases need some beside them.
            connections = watches(self._config) + _OTHER_CONNECTIONS
            self._clusters = [
                Cluster(
                    name,
                    Client(name, load, timeout=self._config.timeout, connections=connections),
                    self._config,
                    self._context.clock,
                )
                for name, load in named
            ]
        return self._clusters

    def _named(self) -> list[tuple[str, partial[Access]]]:
        """Blocking: each cluster's name and the way to it. Raises AccessError."""
        config = self._config
        chosen = bool(config.kubeconfig or config.context or config.contexts)
        if not chosen and in_cluster(os.environ) is not None:
            return [(config.cluster or self._name, partial(_in_cluster))]
        path = Path(config.kubeconfig).expanduser() if config.kubeconfig else kubeconfig_path(os.environ)
        if config.contexts:
            names = [
                each
                for wanted in config.contexts
                for each in (contexts(path) if wanted == "*" else (wanted,))
            ]
            return [(name, partial(from_kubeconfig, path, name)) for name in dict.fromkeys(names)]
        context = config.context or current_context(path)
        return [(config.cluster or context, partial(from_kubeconfig, path, context))]


def _in_cluster() -> Access:
    found = in_cluster(os.environ)
    if found is None:
        raise AccessError("this is no pod any more")
    return found


async def _follow(clusters: Sequence[Cluster], changes: "asyncio.Queue[Sequence[Change]]") -> None:
    async with asyncio.TaskGroup() as group:
        for each in clusters:
            group.create_task(each.follow(changes.put))
