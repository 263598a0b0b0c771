"""Revocation: asks the OCSP responders and fetches the CRLs that live certificates name."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice
from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import FetchCache, Fetcher, FetchPolicy
from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI, aia_location
from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from certwatch.plugins.view import InventoryView
from certwatch.telemetry.metrics import CRL_FETCHES, CRL_SECONDS
from collectors.as_they_end import as_they_end
from collectors.leaves import followed
from collectors.revocation import lists
from collectors.revocation.clocks import clock_facts
from collectors.revocation.crl_index import CRLIndex
from collectors.revocation.issuers import MAX_BYTES as ISSUER_BYTES
from collectors.revocation.issuers import issuer_among, published
from collectors.revocation.kept import KeptLists
from collectors.revocation.list_source import ListSource
from collectors.revocation.lists import Listed
from collectors.revocation.profiles import Profiles
from collectors.revocation.propagation import measure
from collectors.revocation.responders import MAX_SHOWN, Answers, ask, known_host
from collectors.revocation.statement import about, instant
from collectors.revocation.wanted import Authorities, Wanted, authorities, wanted

#: Issuers above one another that are fetched.
HIGHEST = 4
#: Certificates read from the inventory, and asked about, at a time.
PAGE = 500
#: CRLs fetched at once: each may be `max_crl_bytes` long, and is held until it is read.
LISTS_AT_ONCE = 4


def _network(value: object) -> IPv4Network | IPv6Network:
    return ip_network(str(value), strict=False)


Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(_network),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]


class RevocationConfig(CollectorConfig):
    #: Ask OCSP responders.
    ocsp: bool = True
    #: Fetch CRLs.
    crl: bool = True
    #: Fetch the certificates of issuers that are seen nowhere.
    issuers: bool = True
    #: Have CRLs, and an answer of each responder, linted.
    lint: bool = True
    #: Private networks whose responders and CRLs may be asked; the public internet may be without.
    allowed_networks: tuple[Network, ...] = ()
    #: Seconds for one request.
    timeout: float = Field(default=10, gt=0, le=300)
    #: Most requests under way at once.
    concurrency: int = Field(default=20, gt=0, le=1000)
    #: Larger CRLs are not read.
    max_crl_bytes: int = Field(default=128 << 20, gt=0)


class RevocationCollector:
    """Locations: `ocsp://…?certificate=…` is what a responder says of a certificate; a CRL's URL is the CRL; that URL with
    `#<SHA-256>` is a certificate that it revokes; `aia:URL` is an issuer's certificate, published there."""

    Config: ClassVar[type[CollectorConfig]] = RevocationConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, RevocationConfig)  # noqa: S101
        self._config = config
        self._context = context
        # Owned by the running scan; two never run at once.
        self._answers = Answers()
        self._bodies = FetchCache()
        folder = context.state_folder
        self._kept = KeptLists(folder / "crls" if folder is not None else None)
        self._indexes: dict[str, CRLIndex] = {}
        self._profiles = Profiles(wanted=config.lint)

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        view = followed(self._context, "revocation")
        policy = replace(
            FetchPolicy.certificates(self._config.allowed_networks, max_bytes=self._config.max_crl_bytes),
            timeout_seconds=self._config.timeout,
        )
        known = await asyncio.to_thread(authorities, view, self._context.clock())
        await asyncio.to_thread(self._kept.open)
        async with (
            Fetcher(policy, cache=self._bodies, connections=self._config.concurrency) as fetcher,
            Fetcher(policy, cache=self._kept, connections=self._config.concurrency) as list_fetcher,
        ):
            source = ListSource(list_fetcher, self._kept, self._indexes)
            run = _Run(
                self._config, self._context, view, known, fetcher, self._answers, source, self._profiles
            )
            try:
                async for each in run.collect():
                    yield each
            finally:
                await self._profiles.scan_ended()
        self._indexes = source.indexes
        if self._config.crl:
            await asyncio.to_thread(self._kept.prune, run.lists_asked)


class _Run:
    """One scan."""

    def __init__(
        self,
        config: RevocationConfig,
        context: CollectorContext,
        view: InventoryView,
        known: Authorities,
        fetcher: Fetcher,
        answers: Answers,
        source: ListSource,
        profiles: Profiles,
    ) -> None:
        self._config = config
        self._context = context
        self._view = view
        self._known = known
        self._fetcher = fetcher
        self._answers = answers
        self._source = source
        self._profiles = profiles
        self._slots = asyncio.Semaphore(config.concurrency)
        self._list_slots = asyncio.Semaphore(min(config.concurrency, LISTS_AT_ONCE))
        self._done = 0
        #: By URL, as far as they were wanted; None: could not be had.
        self._lists: dict[str, Listed | None] = {}
        #: Issuers' certificates by URL; nothing: they could not be had.
        self._published: dict[str, tuple[Certificate, ...]] = {}

    @property
    def lists_asked(self) -> frozenset[str]:
        return frozenset(self._lists)

    async def collect(self) -> AsyncIterator[Observation]:
        source = wanted(self._view, self._known)
        while page := await asyncio.to_thread(_take, source):
            if self._config.issuers:
                async for said in self._complete_all(page):
                    yield said
                page = [self._completed(each) for each in page]
            page = [each for each in page if not each.known]
            if self._config.ocsp:
                async for said in self._ask_all(page):
                    yield said
            if self._config.crl:
                async for said in self._fetch_all(page):
                    yield said
                for revoked in await asyncio.to_thread(self._revoked, page):
                    yield revoked
            self._done += len(page)
            self._context.progress(self._done, None)

    async def _complete_all(self, page: list[Wanted]) -> AsyncIterator[Observation]:
        """Issuers that are seen nowhere, or not where they must be presented, and theirs, as far as they are published."""
        missing = [each for each in page if each.is_without_issuer]
        for _ in range(HIGHEST):
            urls: dict[str, Wanted] = {}
            for each in missing:
                for url in each.issuer_urls:
                    if url not in self._published:
                        urls.setdefault(url, each)
            async with as_they_end(self._publish(url, each) for url, each in urls.items()) as answers:
                for answer in answers:
                    yield await answer
            above = [
                replace(each, certificate=found, issuer=self._known.issuer_of(found))
                for each in missing
                for found in (await asyncio.to_thread(self._take_issuer, each),)
                if found is not None and not found.is_self_issued
            ]
            missing = [each for each in above if each.is_without_issuer]
            if not missing:
                return

    def _take_issuer(self, below: Wanted) -> Certificate | None:
        """From what is published; then it is known. Blocking: verifies."""
        candidates = [each for url in below.issuer_urls for each in self._published.get(url, ())]
        found = issuer_among(below.certificate, candidates)
        if found is not None:
            self._known.add(found)
        return found

    def _completed(self, each: Wanted) -> Wanted:
        if each.issuer is not None:
            return each
        return replace(each, issuer=self._known.issuer_of(each.certificate))

    async def _publish(self, url: str, each: Wanted) -> Observation:
        self._published[url] = ()
        seen = Observation(
            location=aia_location(url),
            observed_at=self._context.clock(),
            labels=each.at.location.labels,
            scope="aia",
        )
        async with self._slots:
            try:
                fetched = await self._fetcher.get(url)
                if len(fetched.body) > ISSUER_BYTES:
                    raise LookFailed("malformed", f"{url}: {len(fetched.body)} bytes are no certificate")
                found = await asyncio.to_thread(published, url, fetched.body)
            except LookFailed as failed:
                return replace(seen, error=failed.error)
        self._published[url] = tuple(found)
        return replace(seen, observed_at=self._context.clock(), chain=tuple(each.der for each in found))

    async def _ask_all(self, page: list[Wanted]) -> AsyncIterator[Observation]:
        asked = (self._ask(each, url) for each in page for url in each.ocsp_urls)
        async with as_they_end(asked) as answers:
            for answer in answers:
                yield await answer

    async def _ask(self, each: Wanted, url: str) -> Observation:
        async with self._slots:
            said = await ask(each, url, self._fetcher, self._answers, self._profiles, self._context.clock())
        if each.revoked is not None:
            await asyncio.to_thread(measure, "ocsp", said, self._view)
        return said

    async def _fetch_all(self, page: list[Wanted]) -> AsyncIterator[Observation]:
        new: dict[str, Wanted] = {}
        for each in page:
            for url in each.crl_urls:
                if url not in self._lists:
                    new.setdefault(url, each)
        async with as_they_end(self._fetch(url, each) for url, each in new.items()) as answers:
            for answer in answers:
                yield await answer

    async def _fetch(self, url: str, each: Wanted) -> Observation:
        self._lists[url] = None
        seen = Observation(
            location=crl_location(url),
            observed_at=self._context.clock(),
            labels=each.at.location.labels,
            scope="crl",
        )
        async with self._list_slots:
            try:
                taken = await self._source.get(url)
            except LookFailed as failed:
                CRL_FETCHES.labels(failed.kind).inc()
                # What the last one revokes stays revoked, as long as that one is in force.
                last = await self._source.known(url)
                if last is not None:
                    self._lists[url] = await self._listed(url, last, each.certificate)
                return replace(seen, error=failed.error)
            CRL_FETCHES.labels("unchanged" if taken.unchanged else "ok").inc()
            CRL_SECONDS.labels(known_host(url)).observe(taken.seconds)
            self._lists[url] = listed = await self._listed(url, taken.index, each.certificate)
        now = self._context.clock()
        facts = {**lists.facts(listed, taken.seconds), **clock_facts(taken.headers, now)}
        codes = await self._profiles.codes("crl", taken.index.sample)
        if codes:
            facts["crl_lints"] = codes
        return replace(seen, observed_at=now, facts=facts)

    async def _listed(self, url: str, index: CRLIndex, certificate: Certificate) -> Listed:
        signers = self._signers(certificate, index)
        return Listed(
            url=url, index=index, verified=await asyncio.to_thread(lists.is_verified, index, signers)
        )

    def _signers(self, certificate: Certificate, index: CRLIndex) -> list[Certificate]:
        """CAs of the CRL's name: the certificate's own issuer first, since it nearly always is."""
        named = self._known.by_subject.get(index.issuer_der, [])
        first = self._known.issuer_of(certificate)
        return sorted(named, key=lambda each: each is not first)

    def _revoked(self, page: list[Wanted]) -> list[Observation]:
        """Blocking: what the CRLs say of these."""
        found = []
        for each in page:
            for url in each.crl_urls:
                listed = self._lists.get(url)
                if listed is None:
                    found += self._said_before(each, url, "cannot be had")
                    continue
                signers = self._signers(each.certificate, listed.index)
                now = self._context.clock()
                said = lists.status(each.certificate, [listed], signers, now)
                # What a CRL does not have is said of that alone which it should have.
                if said.status != "revoked" and each.revoked is None:
                    if said.status == "unknown":
                        found += self._said_before(each, url, f"no longer says anything: {said.why}")
                    continue
                facts: dict[str, Fact] = {
                    **about(each),
                    "revocation_status": said.status,
                    "revocation_reason": said.reason,
                    "revoked_at": instant(said.revoked_at),
                }
                found.append(
                    Observation(
                        location=crl_location(url, each.certificate),
                        observed_at=now,
                        facts={name: value for name, value in facts.items() if value is not None},
                        labels=each.at.location.labels,
                        scope="crl",
                    )
                )
                if each.revoked is not None:
                    measure("crl", found[-1], self._view)
        return found

    def _said_before(self, each: Wanted, url: str, why: str) -> list[Observation]:
        """Blocking. A list that is gone takes back nothing: what it revoked before stays as it was, with its age."""
        location = crl_location(url, each.certificate)
        before = self._view.served(location)
        if before is None or before.retired_at is not None:
            return []
        error = LookError(kind="not-found", message=f"{url}: the list {why}")
        return [
            Observation(
                location=location,
                observed_at=self._context.clock(),
                error=error,
                labels=each.at.location.labels,
                scope="crl",
            )
        ]


def crl_location(url: str, certificate: Certificate | None = None) -> LocationURI:
    """The CRL's own URL; with `certificate`, what it says of that one."""
    shown = quote(url[:MAX_SHOWN], safe="/:[].?=&%+,;@~")
    return LocationURI(shown if certificate is None else f"{shown}#{certificate.fingerprint_sha256.hex()}")


def _take(source: Iterator[Wanted]) -> list[Wanted]:
    return list(islice(source, PAGE))
