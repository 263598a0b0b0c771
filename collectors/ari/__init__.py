"""Asks CAs when they want their certificates to be replaced (ACME Renewal Information, RFC 9773)."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import Fetched, Fetcher, FetchPolicy
from certwatch.model.location import MAX_URL, LocationURI
from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors.ari.window import Window, certificate_id, read_directory, read_window
from collectors.as_they_end import as_they_end
from collectors.leaves import Leaf, followed, leaves

MAX_BYTES = 64 << 10
PAGE = 200
#: An answer says when to ask again (RFC 9773, 4.3); within these bounds it is believed.
SOONEST, LATEST = timedelta(minutes=1), timedelta(days=1)
USUALLY = timedelta(hours=6)
#: Answers kept; the least recently used go first.
MOST_KEPT = 200_000
#: Public CAs whose directories offer it, by their issuers' names.
DIRECTORIES = {
    "*O=Let's Encrypt*": "https://acme-v02.api.letsencrypt.org/directory",
    "*O=Google Trust Services*": "https://dv.acme-v02.api.pki.goog/directory",
}


class ARIConfig(CollectorConfig):
    #: ACME directories by pattern over the issuer's name; beside those of Let's Encrypt and Google. Empty: not asked.
    directories: dict[str, str] = Field(default_factory=dict)
    #: CA of the directories' own certificates, where the system does not trust it.
    ca_file: Path | None = None
    #: Seconds for one request.
    timeout: float = Field(default=10, gt=0, le=300)
    #: Most requests under way at once.
    concurrency: int = Field(default=10, gt=0, le=100)

    @field_validator("directories")
    @classmethod
    def _are_urls(cls, directories: dict[str, str]) -> dict[str, str]:
        for pattern, url in directories.items():
            if url and (urlsplit(url).scheme != "https" or not urlsplit(url).hostname):
                raise ValueError(f"{pattern}: {url[:100]!r} is no https URL")
        return directories


@dataclass(frozen=True, slots=True)
class _Kept:
    window: Window
    ask_again_at: datetime


class ARICollector:
    """Locations: `ari://HOST/…/ID`: when a CA wants a certificate to be replaced."""

    Config: ClassVar[type[CollectorConfig]] = ARIConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, ARIConfig)  # noqa: S101
        self._config = config
        self._context = context
        self._directories = {**DIRECTORIES, **config.directories}
        # Owned by the running scan; two never run at once.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        view = followed(self._context, "ari")
        config = self._config
        policy = FetchPolicy.configured(max_bytes=MAX_BYTES, timeout_seconds=config.timeout)
        tls = await asyncio.to_thread(_tls, config.ca_file)
        source, done = leaves(view), 0
        async with Fetcher(policy, tls=tls, connections=config.concurrency) as fetcher:
            run = _Run(self._directories, self._context, fetcher, self._kept, config.concurrency)
            while page := await asyncio.to_thread(_take, source):
                async with as_they_end(run.ask(each) for each in page) as answers:
                    for answer in answers:
                        said = await answer
                        if said is not None:
                            yield said
                done += len(page)
                self._context.progress(done, None)
            for url, error in run.broken.items():
                yield Incomplete(scope=url, error=error)


class _Run:
    """One scan."""

    def __init__(
        self,
        directories: dict[str, str],
        context: CollectorContext,
        fetcher: Fetcher,
        kept: OrderedDict[str, _Kept],
        concurrency: int,
    ) -> None:
        self._directories = directories
        self._context = context
        self._fetcher = fetcher
        self._kept = kept
        self._slots = asyncio.Semaphore(concurrency)
        self._bases: dict[str, asyncio.Task[str]] = {}
        #: Directories that could not be read.
        self.broken: dict[str, LookError] = {}

    async def ask(self, leaf: Leaf) -> Observation | None:
        """None: its CA is not known to offer it, or the certificate cannot be named to it."""
        certificate = leaf.certificate
        directory = next(
            (
                url
                for pattern, url in reversed(self._directories.items())
                if fnmatchcase(certificate.issuer, pattern)
            ),
            "",
        )
        id = certificate_id(certificate)
        if not directory or id is None:
            return None
        try:
            base = await self._base(directory)
        except LookFailed as failed:
            self.broken[directory] = failed.error
            return None
        if not base:
            return None
        url = f"{base.rstrip('/')}/{id}"
        now = self._context.clock()
        seen = Observation(
            location=_location(url), observed_at=now, labels=leaf.at.location.labels, scope=directory
        )
        kept = self._kept.get(url)
        if kept is not None and now < kept.ask_again_at:
            self._kept.move_to_end(url)
            return replace(seen, facts=_facts(leaf, kept.window))
        try:
            async with self._slots:
                fetched = await self._fetcher.get(url)
            window = _window(url, fetched)
        except LookFailed as failed:
            return replace(seen, error=failed.error)
        self._kept[url] = _Kept(window, now + _retry_after(fetched))
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return replace(seen, facts=_facts(leaf, window))

    async def _base(self, directory: str) -> str:
        """Each directory is read once."""
        task = self._bases.get(directory)
        if task is None:
            task = self._bases[directory] = asyncio.create_task(self._read(directory))
        return await asyncio.shield(task)

    async def _read(self, directory: str) -> str:
        fetched = await self._fetcher.get(directory)
        try:
            base = read_directory(fetched.body)
        except ValueError as error:
            raise LookFailed("malformed", f"{directory}: no ACME directory: {str(error)[:200]}") from error
        if base and urlsplit(base).scheme != "https":
            raise LookFailed("malformed", f"{directory}: its renewalInfo is no https URL")
        return base


def _window(url: str, fetched: Fetched) -> Window:
    try:
        return read_window(fetched.body)
    except ValueError as error:
        raise LookFailed("malformed", f"{url}: no renewal information: {str(error)[:200]}") from error


def _retry_after(fetched: Fetched) -> timedelta:
    said = fetched.headers.get("retry-after", "").strip()
    if not (said.isascii() and said.isdigit() and len(said) < 8):
        return USUALLY
    return min(max(timedelta(seconds=int(said)), SOONEST), LATEST)


def _facts(leaf: Leaf, window: Window) -> dict[str, Fact]:
    certificate = leaf.certificate
    facts: dict[str, Fact | datetime] = {
        **leaf.about(),
        "ari_start": _iso(window.start),
        "ari_end": _iso(window.end),
        "ari_explanation": window.explanation_url or None,
        "certificate_not_before": _iso(certificate.not_before),
        "certificate_not_after": _iso(certificate.not_after),
    }
    return {name: value for name, value in facts.items() if isinstance(value, str)}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _location(url: str) -> LocationURI:
    return LocationURI("ari:" + quote(url.partition(":")[2][:MAX_URL], safe="/:[].?=&%+,;@~"))


def _take(source: Iterator[Leaf]) -> list[Leaf]:
    return list(islice(source, PAGE))


def _tls(ca_file: Path | None) -> ssl.SSLContext | None:
    """Raises CollectError."""
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CollectError("not-found", f"ca_file: {ca_file}: cannot be used: {error}") from error
