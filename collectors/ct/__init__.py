"""Certificate Transparency: what CAs have issued, whether or not we know of it.

Locations: `ct://LOG/INDEX` is a certificate in a log that is watched; `ct-log://LOG` is the log, with how far it is read and
what it did that it must not; `ct-watch://NAME` is the collector itself; `sct://FINGERPRINT` is what was found of the timestamps of a
certificate in use. How far a log is read is a fact of its location, so that it stands in the inventory exactly if what was
read does: a crash reads a little again, and misses nothing.
"""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

import certwatch
from certwatch.ct.log_list import Log, LogList
from certwatch.ct.merkle import ProofError
from certwatch.ct.watch import WatchList, parse_item
from certwatch.doors.fetch import FetchCache, Fetcher, FetchPolicy
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, LookError, Observation, Unchanged
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CT_ANSWERED, CT_LIST_TIME
from collectors.ct.blocks import Room
from collectors.ct.caa import Allowance
from collectors.ct.clocks import Clocks
from collectors.ct.config import CTConfig
from collectors.ct.follow import Follower
from collectors.ct.issuers import Issuers
from collectors.ct.lists import Watched, file_marks, item_digest, read_logs, read_watched, tls_context
from collectors.ct.own_keys import own_keys
from collectors.ct.pace import Pace
from collectors.ct.requests import Requests
from collectors.ct.rfc6962 import RFC6962Source
from collectors.ct.sieve import Sieve
from collectors.ct.source import MAX_BLOCK, LogError, LogSource
from collectors.ct.state import LogState, Rescan, from_facts, log_location, rfc3339
from collectors.ct.static_ct import StaticSource
from collectors.ct.timestamps import Asked, Timestamps, in_use

log = get_logger(__name__)

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
#: Blocks that all logs together hold in memory.
HELD = 8
#: Certificates in use whose timestamps are verified at a time.
CHUNK = 500
#: Observations that wait to be taken.
WAITING = 200
#: Of a watch list with more items it is not remembered which they are: names added later are not looked up in what was read.
MOST_REMEMBERED = 20_000


class CTCollector:
    Config: ClassVar[type[CollectorConfig]] = CTConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, CTConfig)  # noqa: S101
        self._name = name
        self._config = config
        self._context = context
        self._user_agent = f"certwatch/{certwatch.__version__}" + (
            f" (+{config.contact})" if config.contact else ""
        )
        # What is learnt of logs outlives a scan.
        self._paces: dict[str, Pace] = {}
        self._clocks = Clocks()
        self._cache = FetchCache(max_bytes=8 << 20)
        self._timestamps = Timestamps()
        self._logs_known: LogList | None = None

    async def collect(self) -> AsyncIterator[Observation | Unchanged]:
        config = self._config
        if not config.contact:
            log.warning(
                "ct_no_contact",
                collector=self._name,
                hint="set contact: logs ask for it, and throttle who is nobody",
            )
        policy = FetchPolicy.configured(max_bytes=MAX_BLOCK, timeout_seconds=config.timeout.total_seconds())
        tls = await asyncio.to_thread(tls_context, config.tls_ca)
        async with Fetcher(policy, tls=tls, cache=self._cache, http2=True) as fetcher:
            logs = await self._logs(fetcher)
            for each in logs.skipped:
                log.warning("ct_log_skipped", collector=self._name, reason=each)
            if logs.at is not None:
                CT_LIST_TIME.labels(self._name).set(logs.at.timestamp())
            told: asyncio.Queue[Observation | None] = asyncio.Queue(WAITING)
            work = asyncio.create_task(self._work(logs, fetcher, told))
            done = 0
            try:
                while (said := await told.get()) is not None:
                    yield said
                    done += 1
                    self._context.progress(done, None)
                await work
            finally:
                work.cancel()
                await asyncio.wait([work])
            for each_log in logs.logs:
                yield Unchanged(scope=each_log.name)

    async def _logs(self, fetcher: Fetcher) -> LogList:
        """Those of the list; of the last one that could be read, if there is none now. Raises CollectError."""
        try:
            self._logs_known = await read_logs(self._config, fetcher, self._user_agent)
        except CollectError as error:
            if self._logs_known is None:
                raise
            log.error("ct_log_list_not_read", collector=self._name, error=error.message)
        return self._logs_known

    async def _work(self, logs: LogList, fetcher: Fetcher, told: "asyncio.Queue[Observation | None]") -> None:
        scan = _Scan(
            self._name,
            self._config,
            self._context,
            self._paces,
            self._clocks,
            self._user_agent,
            fetcher,
            told,
        )
        try:
            try:
                followers = await scan.run(logs)
            finally:
                await scan.close()
            await self._tell_timestamps(logs, followers, told)
        except asyncio.CancelledError:
            raise  # nobody takes any more
        except BaseException:
            await told.put(None)
            raise
        await told.put(None)

    async def _tell_timestamps(
        self, logs: LogList, followers: list[Follower], told: "asyncio.Queue[Observation | None]"
    ) -> None:
        """What certificates in use carry, and whether logs kept what they promised."""
        view = self._context.view
        if view is None:
            return
        stamped = await asyncio.to_thread(lambda: list(in_use(view)))
        asked = {
            each.log.key.log_id: Asked(log=each.log, source=each.source, head=each.state.head)
            for each in followers
            if each.state.head is not None
        }
        self._timestamps.forget(stamped)
        await self._timestamps.ask(stamped, asked)
        by_id = {each.key.log_id: each for each in logs.known}
        is_list_known = self._config.log_list is not None
        for first in range(0, len(stamped), CHUNK):
            made = await asyncio.to_thread(
                self._timestamps.observations,
                stamped[first : first + CHUNK],
                by_id,
                self._context.clock(),
                is_list_known=is_list_known,
            )
            for each in made:
                await told.put(each)


class _Scan:
    """One run over all logs. Owned by its task."""

    def __init__(
        self,
        name: str,
        config: CTConfig,
        context: CollectorContext,
        paces: dict[str, Pace],
        clocks: Clocks,
        user_agent: str,
        fetcher: Fetcher,
        told: "asyncio.Queue[Observation | None]",
    ) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._paces = paces
        self._clocks = clocks
        self._user_agent = user_agent
        self._fetcher = fetcher
        self._told = told
        self._deadline = time.monotonic() + config.longest.total_seconds()
        self._files = file_marks(config)
        self._room = Room(asyncio.Semaphore(HELD), asyncio.Semaphore(1), config.parallel)
        # Logs that have not yet been read up to their heads.
        self._pending: set[str] = set()
        self._all_read = asyncio.Event()
        self._failed: dict[str, str] = {}
        self._allowance = Allowance(config.caa) if config.caa is not None else None

    async def close(self) -> None:
        if self._allowance is not None:
            await self._allowance.close()

    async def run(self, logs: LogList) -> "list[Follower]":
        watched, facts = await asyncio.gather(
            asyncio.to_thread(self._watched), asyncio.to_thread(self._facts, _watch_location(self._name))
        )
        sieve = Sieve.make(watched.watch)
        since = facts.get("ct_since")
        added = self._added(watched, facts)
        if added:
            log.info("ct_names_added", collector=self._name, count=len(added))
        followers: list[tuple[Follower, bool]] = []
        for each in logs.logs:
            begin_at = self._begin_at(since)
            facts = await asyncio.to_thread(self._facts, log_location(each))
            state = from_facts(facts)
            if state is None and "ct_mark" in facts:
                log.error(
                    "ct_state_damaged",
                    log=each.name,
                    hint="it is begun again at the instant from which it was read first",
                )
                begin_at = await asyncio.to_thread(self._known_since, log_location(each)) or begin_at
            is_ending = each.state in ("retired", "rejected")
            if state is None and is_ending and self._config.start == "end":
                continue
            follower = self._follower(each, _with_rescan(state or LogState(), added), sieve, begin_at)
            followers.append((follower, is_ending))
        # First of all: names that are new are in a log's rescan only from here on, in the same batch.
        for follower, _ in followers:
            if follower.state.is_begun and added:
                await follower.tell_state()
        await self._tell_watch(watched, since)
        self._pending = {each.log.name for each, _ in followers}
        if not followers:
            return []
        async with asyncio.TaskGroup() as group:
            for follower, is_ending in followers:
                group.create_task(self._follow(follower, is_ending))
        if len(self._failed) == len(followers):
            raise CollectError(
                "unreachable", f"{self._name}: no log could be read. {next(iter(self._failed.values()))}"
            )
        return [each for each, _ in followers]

    def _is_over(self) -> bool:
        """Its time is; or what is watched, or the logs, are others now: the next scan goes on with those."""
        return time.monotonic() > self._deadline or file_marks(self._config) != self._files

    def _watched(self) -> Watched:
        view = self._context.view
        keys = own_keys(view) if self._config.own_keys and view is not None else ()
        return read_watched(self._config, keys)

    def _facts(self, uri: LocationURI) -> dict[str, Fact]:
        view = self._context.view
        served = view.served(uri) if view is not None else None
        return dict(served.facts) if served is not None and served.retired_at is None else {}

    def _added(self, watched: Watched, facts: Mapping[str, Fact]) -> tuple[str, ...]:
        """Names that were not watched when logs were read before."""
        known = str(facts.get("ct_items") or "").split()
        if not known or known == ["*"] or len(watched.digests) > MOST_REMEMBERED:
            return ()
        before = frozenset(known)
        return tuple(each.text for each in watched.watch.items if item_digest(each) not in before)

    def _known_since(self, uri: LocationURI) -> datetime | None:
        """Of a log that began at the end. None: else it begins as configured, which is earlier."""
        view = self._context.view
        served = view.served(uri) if view is not None and self._config.start == "end" else None
        return served.first_seen if served is not None else None

    def _follower(self, each: Log, state: LogState, sieve: Sieve, begin_at: datetime | None) -> Follower:
        config = self._config
        pace = self._paces.get(each.name)
        if pace is None:
            pace = Pace(config.parallel, config.bandwidth, config.requests)
            self._paces[each.name] = pace
        requests = Requests(
            self._fetcher,
            pace,
            each.name,
            each.url,
            self._user_agent,
            heard=lambda date: self._clocks.heard(each.name, date),
        )
        issuers = Issuers(requests)
        source: LogSource = (
            StaticSource(each, requests, issuers)
            if each.kind == "static"
            else RFC6962Source(each, requests, issuers)
        )
        rescan = state.rescan
        return Follower(
            log=each,
            source=source,
            state=state,
            sieve=sieve,
            begin_at=begin_at,
            clock=self._context.clock,
            clocks=self._clocks,
            tell=self._told.put,
            room=self._room,
            is_over=self._is_over,
            rescan_sieve=Sieve.make(_watch_of(rescan.items)) if rescan is not None else None,
            allowance=self._allowance,
        )

    def _begin_at(self, since: Fact) -> datetime | None:
        if self._config.start == "beginning":
            return BEGINNING
        if self._config.start != "end":
            return self._config.started_at
        # A log that is new to the list is read from when watching began: it has nothing older that is ours to read.
        return datetime.fromisoformat(since) if isinstance(since, str) else None

    async def _tell_watch(self, watched: Watched, since: Fact) -> None:
        remembered = len(watched.digests) <= MOST_REMEMBERED
        await self._told.put(
            Observation(
                location=_watch_location(self._name),
                observed_at=self._context.clock(),
                facts={
                    "ct_since": since if isinstance(since, str) else rfc3339(self._context.clock()),
                    "ct_items": " ".join(sorted(watched.digests)) or "-" if remembered else "*",
                },
                scope="watch",
            )
        )

    async def _follow(self, follower: Follower, is_ending: bool) -> None:
        """Until all logs are read up to their heads, or time is over."""
        name = follower.log.name
        config = self._config
        while True:
            began, before = time.monotonic(), follower.state
            try:
                more = await follower.run()
                CT_ANSWERED.labels(name).set(self._context.clock().timestamp())
                self._failed.pop(name, None)
                if more:
                    await _tell_if_slow(follower, before, time.monotonic() - began, self._paces[name])
            except (LogError, ProofError) as error:
                self._failed[name] = str(error)
                log.warning("ct_log_not_read", log=name, error=str(error))
                if not is_ending:
                    await follower.tell_error(LookError(kind="other", message=str(error)[:500]))
            except Exception as error:
                # A bug of ours that one log brings out must not keep all others from being read, now and at each scan to come.
                self._failed[name] = f"{name}: {error!r:.300}"
                frames = "".join(traceback.format_exception(error, limit=-8))
                log.error("ct_log_reader_failed", log=name, error=repr(error)[:300], traceback=frames[-4000:])
                await follower.tell_error(
                    LookError(
                        kind="other", message=f"{name}: certwatch failed to read it: {type(error).__name__}"
                    )
                )
            self._pending.discard(name)
            if not self._pending:
                self._all_read.set()
            if self._is_over():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(config.poll.total_seconds()):
                    await self._all_read.wait()
                    return


async def _tell_if_slow(follower: Follower, before: LogState, seconds: float, pace: Pace) -> None:
    """A log that grows faster than it lets itself be read, with the numbers."""
    now = follower.state
    if now.head is None or before.head is None or now.head.timestamp <= before.head.timestamp or seconds <= 0:
        return
    growth = (now.head.size - before.head.size) / ((now.head.timestamp - before.head.timestamp) / 1000)
    read = (now.tree.size - before.tree.size) / seconds
    if growth <= read:
        return
    behind = now.head.size - now.tree.size
    slow = (
        f"it grows by {growth:.2g} entries a second and gives {read:.2g}; {behind:.2g} entries are left"
        + (f", and it refused {pace.refused} requests" if pace.refused else "")
    )
    follower.state = replace(now, slow=slow)
    await follower.tell_state()


def _watch_location(name: str) -> LocationURI:
    return LocationURI(f"ct-watch://{name}")


def _watch_of(items: tuple[str, ...]) -> WatchList:
    return WatchList.make(map(parse_item, items))


def _with_rescan(state: LogState, added: tuple[str, ...]) -> LogState:
    """Looking back begins anew where it is under way already: for both."""
    if not added or not state.is_begun or state.begin.size >= state.tree.size:
        return state
    items = (*state.rescan.items, *added) if state.rescan is not None else added
    return replace(
        state,
        rescan=Rescan(items=tuple(dict.fromkeys(items)), tree=state.begin.copy(), until=state.tree.size),
    )
