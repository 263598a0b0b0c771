"""One cluster: its resources, looked at once or followed."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from urllib.parse import quote

from certwatch.doors.kubernetes import Client, RequestFailed
from certwatch.model.clock import Clock
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.telemetry.logs import get_logger
from collectors.kubernetes.config import KubernetesConfig
from collectors.kubernetes.control_plane import api_server
from collectors.kubernetes.objects import Secret, Unreadable, bytes_of, decode
from collectors.kubernetes.reading import Reading
from collectors.kubernetes.reflector import Change, Expired, Reflector
from collectors.kubernetes.resources import NAMESPACES, RESOURCES

log = get_logger(__name__)

#: Between two attempts to follow what cannot be followed; doubled by each further one.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
#: A watch that ended sooner is no watch: the next one waits as after a failure.
SHORTEST_WATCH = 5.0
#: What the server does not have is asked for again.
ABSENT_PAUSE = 300.0
#: Passphrases of other Secrets are kept so long, and so many.
_PASSPHRASE_SECONDS = 60.0
_PASSPHRASES = 1000
#: For a passphrase that a reader waits for.
_FETCH_SECONDS = 30.0
#: Observations handed over at once.
_PART = 500

#: Returns when there is room for more.
Put = Callable[[Sequence[Observation | Incomplete]], Awaitable[None]]
Emit = Callable[[Sequence[Change]], Awaitable[None]]


class Cluster:
    """Owned by the event loop's thread; readers work in others, one for each resource at a time."""

    def __init__(self, name: str, client: Client, config: KubernetesConfig, clock: Clock) -> None:
        self.name = name
        self.client = client
        self._config = config
        self._clock = clock
        self._reading = Reading(cluster=name, config=config, fetch=self._fetch)
        self._owners: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._passphrases: dict[tuple[str, str], tuple[float, bytes | None]] = {}
        self._followed: set[Reflector] = set()
        self._namespaces = (
            Reflector(client, NAMESPACES, None, self._reading, clock) if config.owner_keys else None
        )
        self._reflectors = [
            Reflector(
                client,
                resource,
                namespace,
                self._reading,
                clock,
                namespace_owner=lambda namespace: self._owners.get(namespace, ""),
            )
            for resource in RESOURCES
            if resource.source in config.sources
            for namespace in resource.asked_in(config)
        ]

    async def look(self, put: Put) -> LookError | None:
        """Everything once: what is followed comes from memory, the rest is listed. Gives why nothing at all could be
        had. None: something could."""
        self._loop = asyncio.get_running_loop()
        await self._look_at_namespaces()
        unreachable: LookError | None = None
        something = False
        for reflector in self._reflectors:
            if unreachable is not None:
                await put([Incomplete(scope=reflector.scope, error=unreachable)])
                continue
            try:
                await self._look_at(reflector, put)
                something = True
            except RequestFailed as failed:
                error = self._told(reflector, failed)
                await put([Incomplete(scope=reflector.scope, error=error)])
                if failed.is_unreachable:
                    unreachable = error
        if "control-plane" in self._config.sources:
            await put([self._seen_api_server(unreachable)])
        return None if something else unreachable

    def _seen_api_server(self, unreachable: LookError | None) -> Observation | Incomplete:
        """As its clients reach it: what the kubeconfig, or the pod's environment, says."""
        scope = f"{self.name}/apiserver"
        if unreachable is not None or self.client.server is None:
            why = unreachable or LookError(kind="other", message=f"{self.name}: nothing was asked of it")
            return Incomplete(scope=scope, error=why)
        place = api_server(self.name, self.client.server)
        return Observation(
            location=place.location,
            observed_at=self._clock(),
            facts=place.facts,
            labels={"cluster": self.name},
            scope=scope,
        )

    async def _look_at(self, reflector: Reflector, put: Put) -> None:
        if reflector in self._followed and reflector.is_whole and reflector.error is None:
            seen = reflector.observations()
            for start in range(0, len(seen), _PART):
                await put(seen[start : start + _PART])
            return
        async with reflector.lock:
            async for batch in reflector.read_all():
                await put([*batch.changed, *batch.same])

    async def _look_at_namespaces(self) -> None:
        """Whose they are. Cannot be had: as it was, and said in the log, since nothing of the scan is missing."""
        namespaces = self._namespaces
        if namespaces is None or (namespaces in self._followed and namespaces.synced):
            return
        try:
            async with namespaces.lock:
                async for _ in namespaces.read_all():
                    pass
        except RequestFailed as failed:
            namespaces.say(self._told(namespaces, failed))
        self._owners = namespaces.owners()

    async def follow(self, emit: Emit) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        everything = [*self._reflectors, *([self._namespaces] if self._namespaces is not None else [])]
        try:
            async with asyncio.TaskGroup() as group:
                for reflector in everything:
                    group.create_task(self._follow(reflector, emit))
        finally:
            self._followed.clear()

    async def _follow(self, reflector: Reflector, emit: Emit) -> None:
        pause = FIRST_PAUSE
        while True:
            accepted: float | None = None
            failed = True
            try:
                if not reflector.synced:
                    await self._list_again(reflector, emit)
                if not reflector.synced:
                    reflector.say(None)
                    await asyncio.sleep(ABSENT_PAUSE)
                    continue
                async with aclosing(reflector.watch()) as watch:
                    async for changes in watch:
                        accepted = accepted or time.monotonic()
                        self._followed.add(reflector)
                        reflector.say(None)
                        await emit(changes)
                        await self._owners_changed(reflector, emit)
                failed = False
            except Expired:
                log.info("kubernetes_watch_expired", scope=reflector.scope)
            except RequestFailed as error:
                reflector.say(self._told(reflector, error))
            if failed:
                self._followed.discard(reflector)
            if accepted is not None and time.monotonic() - accepted >= SHORTEST_WATCH:
                pause = FIRST_PAUSE
                if not failed:
                    # The server ends each watch after some minutes.
                    continue
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - so that not all come at once
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _list_again(self, reflector: Reflector, emit: Emit) -> None:
        changes: list[Change] = []
        async with reflector.lock:
            if not reflector.synced:
                async for batch in reflector.read_all():
                    changes += [*batch.changed, *batch.gone]
        # Not with the lock: who takes them may wait for a scan, which waits for the lock.
        await emit(changes)
        await self._owners_changed(reflector, emit)

    async def _owners_changed(self, reflector: Reflector, emit: Emit) -> None:
        if reflector is not self._namespaces:
            return
        former, self._owners = self._owners, reflector.owners()
        moved = {
            name for name in former.keys() | self._owners.keys() if former.get(name) != self._owners.get(name)
        }
        if moved:
            for each in self._reflectors:
                await emit(each.observations(moved))

    def _told(self, reflector: Reflector, failed: RequestFailed) -> LookError:
        return failed.at(reflector.where, _what_to_do(reflector, failed))

    def _fetch(self, secret: str, key: str) -> bytes | None:
        """Blocking, in a reader's thread."""
        kept = self._passphrases.get((secret, key))
        now = time.monotonic()
        if kept is not None and kept[0] > now:
            return kept[1]
        value = None
        namespace, _, name = secret.partition("/")
        if self._loop is not None and namespace and name and "/" not in name:
            path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}"
            asked = asyncio.run_coroutine_threadsafe(self.client.get(path), self._loop)
            try:
                found = decode(asked.result(_FETCH_SECONDS), Secret)
                value = bytes_of(found.data[key]) if found.data and key in found.data else None
            except (RequestFailed, Unreadable, TimeoutError) as error:
                asked.cancel()
                log.warning(
                    "kubernetes_passphrase_missing", cluster=self.name, secret=secret, error=str(error)
                )
        if len(self._passphrases) >= _PASSPHRASES:
            self._passphrases.clear()
        self._passphrases[secret, key] = (now + _PASSPHRASE_SECONDS, value)
        return value


def _what_to_do(reflector: Reflector, failed: RequestFailed) -> str:
    if failed.status == 403:
        return f"Grant list and watch on {reflector.resource.name}, or take it out of `sources`"
    if failed.status == 401:
        return "Renew the token or certificate"
    if failed.status == 404:
        return "Is this a Kubernetes API server?"
    if failed.status == 400:
        return "Check the selectors"
    return "It is tried again"
