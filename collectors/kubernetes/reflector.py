"""One resource of one cluster, as it is now: listed once, then kept up by a watch.

Of each object that has places those are held, with the certificates' DER; nothing else of it outlives the page or the
event that it came with.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar

import msgspec

from certwatch.doors.kubernetes import Client, Page, RequestFailed
from certwatch.doors.kubernetes.failure import Status, refusal
from certwatch.model.clock import Clock
from certwatch.model.observation import Gone, LookError, Observation
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import (
    KUBERNETES_CERTIFICATE_REQUESTS,
    KUBERNETES_FOLLOWED,
    KUBERNETES_LISTS,
    KUBERNETES_PLACES,
    KUBERNETES_UNREADABLE,
)
from collectors.kubernetes.objects import Bare, Event, Meta, Unreadable, decode
from collectors.kubernetes.place import Place
from collectors.kubernetes.reading import Read, Reading
from collectors.kubernetes.resources import Resource

log = get_logger(__name__)

#: Of certificates that are held, and of one object that is held however much there is. What is over is read anew by each scan:
#: whoever may write Secrets of a mebibyte must not decide how much memory is taken.
MAX_HELD_BYTES = 128 << 20
SMALL_BYTES = 16 << 10
#: A list whose token expired under way is begun again so often, then left for later.
_LISTS = 3

Change = Observation | Gone
#: Readers may wait for a passphrase of another Secret, which the event loop asks for: in threads of their own they do not keep those
#: that it needs for that (names, credentials).
_READERS = ThreadPoolExecutor(4, thread_name_prefix="kubernetes")
_P = ParamSpec("_P")
_R = TypeVar("_R")


async def _in_reader(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_READERS, call)


class Expired(Exception):
    """The server no longer knows what happened since: list again (410 Gone)."""


@dataclass(frozen=True, slots=True)
class Held:
    version: str
    uid: str
    namespace: str
    #: Without their certificates, if `is_light`.
    places: tuple[Place, ...]
    is_light: bool
    owner: str
    labels: dict[str, str]
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A part of a list."""

    #: New, or another than was known.
    changed: tuple[Observation, ...] = ()
    #: As they were known already.
    same: tuple[Observation, ...] = ()
    gone: tuple[Gone, ...] = ()


class Reflector:
    """Owned by the event loop's thread. `lock` is held while a list or a batch of events changes what is held."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str | None,
        reading: Reading,
        clock: Clock,
        *,
        max_held_bytes: int = MAX_HELD_BYTES,
        namespace_owner: Callable[[str], str] = lambda namespace: "",
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.lock = asyncio.Lock()
        #: Why it is not followed. None: it is, or nobody has tried.
        self.error: LookError | None = None
        #: True: what is held is what the server had at `_version`.
        self.synced = False
        self._client = client
        self._reading = reading
        self._clock = clock
        self._namespace_owner = namespace_owner
        self._max_held_bytes = max_held_bytes
        self._held: dict[str, Held] = {}
        self._version = ""
        self._api = ""
        #: Counts lists: a watch that began before one is over.
        self._epoch = 0
        self._why = "first"
        #: CertificateRequests whose outcome was counted, by name: uid and outcome.
        self._counted: dict[str, tuple[str, str]] = {}
        #: Of which not all was looked at.
        self._postponed: set[str] = set()
        self._held_bytes = 0

    @property
    def scope(self) -> str:
        inside = f"{self.namespace}/" if self.namespace else ""
        return f"{self._reading.cluster}/{inside}{self.resource.name}"

    @property
    def is_whole(self) -> bool:
        """What is held is what the server had, and all of it was looked at."""
        return self.synced and not self._postponed

    @property
    def where(self) -> str:
        named = f' in "{self.namespace}"' if self.namespace else ""
        return f"{self._reading.cluster}: cannot read {self.resource.name}{named}"

    def observations(self, namespaces: Iterable[str] | None = None) -> list[Observation]:
        """All that is held, as seen now; or what of it is in these namespaces."""
        now = self._clock()
        wanted = None if namespaces is None else set(namespaces)
        return [
            self._observed(held, place, now)
            for held in self._held.values()
            if not held.is_light and (wanted is None or held.namespace in wanted)
            for place in held.places
        ]

    def owners(self) -> dict[str, str]:
        """Of the objects that are held, by name: for namespaces."""
        return {id.partition("/")[2]: held.owner for id, held in self._held.items() if held.owner}

    async def read_all(self, *, why: str | None = None) -> AsyncIterator[Batch]:
        """Page by page; after the last, what is gone. Raises RequestFailed; what was held is held then. The caller has
        the lock."""
        for attempt in range(_LISTS):
            KUBERNETES_LISTS.labels(self._reading.cluster, self.resource.name, why or self._why).inc()
            self._why = "failed"
            try:
                async for batch in self._list():
                    yield batch
                return
            except RequestFailed as failed:
                if failed.status == 404 and self.resource.optional:
                    yield self.forget()
                    return
                # Pages are of one instant, which the server forgets after some minutes.
                if failed.status != 410 or attempt == _LISTS - 1:
                    raise
                why = "expired"

    async def _list(self) -> AsyncIterator[Batch]:
        seen: set[str] = set()
        version = ""
        async for page in self._pages():
            version = page.resource_version
            batch = await _in_reader(self._take_page, page.items, seen)
            del page
            yield batch
        now = self._clock()
        left = [id for id in self._held if id not in seen]
        gone = [self._gone(place, now) for id in left for place in self._drop(id)]
        self._counted = {id: counted for id, counted in self._counted.items() if id in seen}
        self._postponed &= seen
        self._version, self.synced, self._why = version, True, "scan"
        self._epoch += 1
        self._measure()
        if gone:
            yield Batch(gone=tuple(gone))

    def forget(self) -> Batch:
        """The server has no such resource (any more): what was held is gone."""
        now = self._clock()
        gone = tuple(self._gone(place, now) for held in self._held.values() for place in held.places)
        self._held.clear()
        self._held_bytes = 0
        self._postponed.clear()
        self._epoch += 1
        self.synced, self._why = False, "first"
        self._measure()
        return Batch(gone=gone)

    async def _pages(self) -> AsyncIterator[Page]:
        versions = (self._api,) if self._api else self.resource.versions
        for number, api in enumerate(versions):
            path = self.resource.path(api, self.namespace)
            limit, selectors = self._reading.config.page_size, self.resource.selectors(self._reading.config)
            metadata_only = self.resource.metadata_only
            try:
                async for page in self._client.pages(
                    path, selectors, limit=limit, metadata_only=metadata_only
                ):
                    self._api = api
                    yield page
                return
            except RequestFailed as failed:
                if failed.status != 404:
                    raise
                self._api = ""
                if number == len(versions) - 1:
                    raise

    def _take_page(self, items: Sequence[msgspec.Raw], seen: set[str]) -> Batch:
        """Blocking. What is held changes here only while the caller has the lock."""
        changed: list[Observation] = []
        same: list[Observation] = []
        gone: list[Gone] = []
        now = self._clock()
        unreadable: list[str] = []
        for item in items:
            meta = self._meta(item, unreadable)
            if meta is None or not self._wants(meta):
                continue
            known = self._held.get(meta.id)
            seen.add(meta.id)
            same_version = known is not None and (known.version, known.uid) == (
                meta.resource_version,
                meta.uid,
            )
            if known is not None and same_version and not known.is_light:
                same += [self._observed(known, place, now) for place in known.places]
                continue
            changes = self._take(item, meta, now, unreadable)
            if changes is None:
                # It is there, and cannot be read: what was known of it stays.
                if known is not None and not known.is_light:
                    same += [self._observed(known, place, now) for place in known.places]
                continue
            for change in changes:
                if isinstance(change, Observation):
                    changed.append(change)
                else:
                    gone.append(change)
        self._say_unreadable(unreadable)
        return Batch(changed=tuple(changed), same=tuple(same), gone=tuple(gone))

    def _wants(self, meta: Meta) -> bool:
        return self.resource.only_in is not None or self._reading.config.wants_namespace(meta.namespace)

    def _meta(self, item: bytes | msgspec.Raw, unreadable: list[str]) -> Meta | None:
        """None: it is nothing that has a name."""
        try:
            meta = decode(item, Bare).metadata
        except Unreadable as error:
            unreadable.append(f"an object {error}")
            return None
        if meta.name and not meta.is_named:
            unreadable.append("an object has a name that none may have")
        return meta if meta.is_named else None

    def _take(
        self, item: bytes | msgspec.Raw, meta: Meta, now: datetime, unreadable: list[str]
    ) -> list[Change] | None:
        """An object that is new or has changed: what that changes. None: it cannot be read."""
        try:
            read = self.resource.read(item, self._reading)
        except Unreadable as error:
            unreadable.append(f"{meta.id} {error}")
            return None
        return self._hold(read, now)

    def _say_unreadable(self, found: Sequence[str]) -> None:
        """Once for all that came together."""
        if found:
            KUBERNETES_UNREADABLE.labels(self._reading.cluster, self.resource.name).inc(len(found))
            log.warning("kubernetes_objects_unreadable", scope=self.scope, objects=len(found), error=found[0])

    def _hold(self, read: Read, now: datetime) -> list[Change]:
        meta = read.meta
        before = self._drop(meta.id)
        size = sum(place.own_bytes for place in read.places)
        is_light = size > SMALL_BYTES and self._held_bytes + size > self._max_held_bytes
        is_postponed = read.is_postponed or is_light
        held = Held(
            # Looked at again by the next list, though nothing has changed.
            version="" if is_postponed else meta.resource_version,
            uid=meta.uid,
            namespace=meta.namespace,
            places=tuple(map(_light, read.places)) if is_light else read.places,
            is_light=is_light,
            owner=self._reading.owner(meta),
            labels=self._reading.object_labels(meta),
            outcome=read.outcome,
        )
        if is_postponed:
            self._postponed.add(meta.id)
        else:
            self._postponed.discard(meta.id)
        if read.places or (self.resource.source is None and held.owner):
            self._held[meta.id] = held
            self._held_bytes += 0 if is_light else size
        if read.outcome and self._counted.get(meta.id) != (meta.uid, read.outcome):
            # What was over before we came is history, and would be counted anew by each start.
            if self._epoch:
                KUBERNETES_CERTIFICATE_REQUESTS.labels(self._reading.cluster, read.outcome).inc()
            self._counted[meta.id] = (meta.uid, read.outcome)
        now_here = {place.location for place in read.places}
        gone = [self._gone(place, now) for place in before if place.location not in now_here]
        return [*(self._observed(held, place, now) for place in read.places), *gone]

    def _drop(self, id: str) -> tuple[Place, ...]:
        """It is held no more. Gives where it was."""
        held = self._held.pop(id, None)
        if held is None:
            return ()
        self._held_bytes -= sum(place.own_bytes for place in held.places)
        return held.places

    def _observed(self, held: Held, place: Place, now: datetime) -> Observation:
        labels = {**held.labels, "cluster": self._reading.cluster}
        if held.namespace:
            labels["namespace"] = held.namespace
        owner = held.owner or self._namespace_owner(held.namespace)
        if owner:
            labels["owner"] = owner
        return Observation(
            location=place.location,
            observed_at=now,
            chain=place.chain,
            facts=place.facts,
            error=place.error,
            labels=labels,
            scope=self.scope,
        )

    def _gone(self, place: Place, now: datetime) -> Gone:
        return Gone(location=place.location, observed_at=now)

    async def watch(self) -> AsyncGenerator[list[Change], None]:
        """Changes since the list, or since the last event; first an empty batch when the server has accepted it. Ends
        when the server ends it, or a list comes between. Raises RequestFailed, Expired."""
        epoch = self._epoch
        path = self.resource.path(self._api or self.resource.versions[0], self.namespace)
        selectors = self.resource.selectors(self._reading.config)
        watch = self._client.watch(path, selectors, self._version, metadata_only=self.resource.metadata_only)
        try:
            # Closed here, whatever ends it: it holds a connection.
            async with aclosing(watch):
                async for lines in watch:
                    async with self.lock:
                        if self._epoch != epoch:
                            return
                        changes = await _in_reader(self._take_events, lines) if lines else []
                        if changes:
                            self._measure()
                    # Not with the lock: who takes the changes may wait for a scan, which waits for the lock.
                    yield changes
        except RequestFailed as failed:
            if failed.status == 410:
                self._expire()
                raise Expired from failed
            raise
        except Expired:
            self._expire()
            raise

    def _expire(self) -> None:
        self.synced, self._why = False, "expired"

    def _take_events(self, lines: Sequence[bytes]) -> list[Change]:
        """Blocking. Raises Expired, RequestFailed."""
        changes: list[Change] = []
        unreadable: list[str] = []
        now = self._clock()
        for line in lines:
            try:
                event = decode(line, Event)
            except Unreadable as error:
                # The stream cannot be trusted any more; what came before is kept, the rest is asked for again.
                raise RequestFailed("malformed", f"an event {error}") from error
            if event.type == "ERROR":
                self._failed(event.object)
            meta = self._meta(event.object, unreadable)
            if event.type != "BOOKMARK" and meta is not None:
                changes += self._take_event(event, meta, now, unreadable)
            version = meta.resource_version if meta is not None else _version_of(event.object)
            self._version = version or self._version
        self._say_unreadable(unreadable)
        return changes

    def _take_event(self, event: Event, meta: Meta, now: datetime, unreadable: list[str]) -> list[Change]:
        if event.type == "DELETED":
            self._counted.pop(meta.id, None)
            self._postponed.discard(meta.id)
            return [self._gone(place, now) for place in self._drop(meta.id)]
        if event.type not in ("ADDED", "MODIFIED") or not self._wants(meta):
            return []
        return self._take(event.object, meta, now, unreadable) or []

    def _failed(self, data: msgspec.Raw) -> None:
        try:
            status = decode(data, Status)
        except Unreadable:
            status = Status()
        if status.code == 410 or status.reason in ("Expired", "Gone"):
            raise Expired
        raise RequestFailed("other", refusal(status.code, status), status=status.code, reason=status.reason)

    def say(self, error: LookError | None) -> None:
        """Whether it is followed."""
        if error is not None and (self.error is None or self.error.message != error.message):
            log.warning("kubernetes_not_followed", scope=self.scope, kind=error.kind, error=error.message)
        elif error is None and self.error is not None:
            log.info("kubernetes_followed_again", scope=self.scope)
        self.error = error
        KUBERNETES_FOLLOWED.labels(*self._labels).set(error is None)

    @property
    def _labels(self) -> tuple[str, str, str]:
        """Of what is measured: without namespace where the whole cluster is looked at."""
        return self._reading.cluster, self.namespace or "", self.resource.name

    def _measure(self) -> None:
        count = sum(len(held.places) for held in self._held.values())
        KUBERNETES_PLACES.labels(*self._labels).set(count)


def _light(place: Place) -> Place:
    return replace(place, chain=(), own_bytes=0)


def _version_of(data: msgspec.Raw) -> str:
    try:
        return decode(data, Bare).metadata.resource_version
    except Unreadable:
        return ""
