"""What others know of the past: crt.sh, which has read the logs since there were any.

What it says is not proven: no log's signature comes with it. Each certificate is fetched and read by ourselves; what it is for
counts, and not what the list says of it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import quote, urlsplit

import msgspec
from pydantic import Field, field_validator

import certwatch
from certwatch.ct.names import match
from certwatch.ct.watch import Item, WatchError, WatchList, parse_item
from certwatch.doors.fetch import Fetcher, FetchPolicy
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, LookError, Observation, Unchanged
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from certwatch.plugins.duration import Duration
from certwatch.telemetry.logs import get_logger
from certwatch.x509 import pem
from collectors.ct.found import shown
from collectors.ct.lists import tls_context
from collectors.ct.pace import Pace
from collectors.ct.requests import MissingError, Requests
from collectors.ct.source import LogError
from collectors.ct.state import rfc3339

log = get_logger(__name__)

#: Of one answer to a search.
MAX_LIST = 64 << 20
MAX_CERTIFICATE = 512 << 10


class SearchConfig(CollectorConfig):
    #: "www.example.com" is that name alone, ".example.com" it and everything below.
    domains: tuple[str, ...] = Field(min_length=1, max_length=1000)
    #: Where it is.
    url: str = Field(default="https://crt.sh", pattern=r"^https?://[^\s?#@]+$", max_length=300)
    #: How its operators can reach you: a mail address or URL. Goes into the user agent.
    contact: str = Field(default="", max_length=200)
    #: Also what has expired.
    expired: bool = False
    #: Certificates that one scan fetches; the next goes on.
    most: int = Field(default=500, ge=1, le=100_000)
    #: Requests a second, at most.
    requests: float = Field(default=0.5, gt=0, le=100)
    #: Of one request; searches take long.
    timeout: Duration = timedelta(seconds=120)
    #: File with CA certificates that its own TLS certificate may have, beside the system's.
    tls_ca: str | None = None

    @field_validator("domains")
    @classmethod
    def _are_names(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        for each in domains:
            try:
                item = parse_item(each)
            except WatchError as error:
                raise ValueError(str(error)) from error
            if len(item.labels) < 2:
                raise ValueError(f"{each!r} is too much to search for: name domains")
        return domains


class _Found(msgspec.Struct):
    """One line of what a search finds."""

    id: int
    entry_timestamp: str | None = None
    not_after: str | None = None


class SearchCollector:
    """Locations: `ct-search://HOST/ID`."""

    Config: ClassVar[type[CollectorConfig]] = SearchConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, SearchConfig)  # noqa: S101
        self._name = name
        self._config = config
        self._context = context
        self._host = urlsplit(config.url).netloc
        # What is learnt of it outlives a scan.
        self._pace = Pace(1, None, config.requests)
        # What it names, and is for none of ours, or none at all: asked for once.
        self._passed_over: set[int] = set()

    async def collect(self) -> AsyncIterator[Observation | Incomplete | Unchanged]:
        config = self._config
        policy = FetchPolicy.configured(max_bytes=MAX_LIST, timeout_seconds=config.timeout.total_seconds())
        agent = f"certwatch/{certwatch.__version__}" + (f" (+{config.contact})" if config.contact else "")
        tls = await asyncio.to_thread(tls_context, config.tls_ca)
        async with Fetcher(policy, tls=tls) as fetcher:
            requests = Requests(fetcher, self._pace, self._host, config.url.rstrip("/"), agent)
            items = [parse_item(each) for each in config.domains]
            try:
                found = await self._search(requests, items)
            except LogError as error:
                raise CollectError("unreachable", f"{self._name}: {error}") from error
            new = await asyncio.to_thread(self._new, found)
            watch = WatchList.make(items)
            for done, each in enumerate(new[: config.most]):
                self._context.progress(done, min(len(new), config.most))
                try:
                    seen = await self._look(requests, each, watch)
                except LogError as error:
                    yield Incomplete(
                        scope=self._name,
                        error=LookError(kind="unreachable", message=f"{self._name}: {error}"[:500]),
                    )
                    return
                if seen is not None:
                    yield seen
            if len(new) > config.most:
                log.info("ct_search_goes_on", collector=self._name, left=len(new) - config.most)
        yield Unchanged(scope=self._name)

    async def _search(self, requests: Requests, items: Sequence[Item]) -> dict[int, _Found]:
        """Raises LogError."""
        found: dict[int, _Found] = {}
        for text in dict.fromkeys(each for item in items for each in _queries(item)):
            path = f"?q={quote(text, safe='')}&output=json" + (
                "" if self._config.expired else "&exclude=expired"
            )
            data = await requests.get(path, max_bytes=MAX_LIST)
            try:
                said = await asyncio.to_thread(msgspec.json.decode, data, type=list[_Found])
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                html = " (it looks like HTML)" if data[:300].lstrip().startswith(b"<") else ""
                raise LogError(
                    f"{requests.url}: answers with something else than JSON{html}: {str(error)[:100]}"
                ) from error
            found |= {each.id: each for each in said if 0 < each.id < 1 << 63}
        return found

    def _new(self, found: dict[int, _Found]) -> list[_Found]:
        """Those that are not in the inventory, the newest first. Blocking."""
        view = self._context.view
        return [
            found[id]
            for id in sorted(found, reverse=True)
            if id not in self._passed_over and (view is None or view.served(self._uri(id)) is None)
        ]

    def _uri(self, id: int) -> LocationURI:
        return LocationURI(f"ct-search://{self._host}/{id}")

    async def _look(self, requests: Requests, found: _Found, watch: WatchList) -> Observation | None:
        """None: it is for none of ours. Raises LogError."""
        try:
            data = await requests.get(f"?d={found.id}", max_bytes=MAX_CERTIFICATE)
        except MissingError:
            self._passed_over.add(found.id)
            return None
        certificates = [each.data for each in pem.blocks(data) if each.is_certificate and each.data]
        der = certificates[0] if certificates else data
        matches = await asyncio.to_thread(match, der, watch)
        if not matches or not certificates:
            self._passed_over.add(found.id)
            log.warning(
                "ct_search_passed_over",
                collector=self._name,
                id=found.id,
                why="it is for no name that is searched for" if certificates else "it is no certificate",
            )
            return None
        facts: dict[str, Fact] = {
            "ct_log": self._host,
            "ct_index": found.id,
            "ct_entry": "precertificate" if _POISON in der else "certificate",
            "ct_matches": shown(matches),
        }
        at = _instant(found.entry_timestamp)
        if at is not None:
            facts["ct_logged_at"] = rfc3339(at)
        return Observation(
            location=self._uri(found.id),
            observed_at=self._context.clock(),
            chain=(der,),
            facts=facts,
            scope=self._name,
        )


#: 1.3.6.1.4.1.11129.2.4.3 (RFC 6962, 3.1).
_POISON = bytes.fromhex("060a2b06010401d679020403")


def _queries(item: Item) -> list[str]:
    """ "%" stands for anything. A wildcard for the labels of a single name is for it, too."""
    name = ".".join(reversed(item.labels))
    if item.is_tree:
        return [name, f"%.{name}"]
    above = name.partition(".")[2]
    return [name, f"*.{above}"] if len(item.labels) > 2 else [name]


def _instant(text: str | None) -> datetime | None:
    """It says UTC without saying so."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
