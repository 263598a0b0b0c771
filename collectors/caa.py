"""CAA records of the names in live certificates, beside the CA that issued them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice
from typing import ClassVar
from urllib.parse import quote

from pydantic import Field, field_validator

from certwatch.doors.dns_records import CAALookup, NameServer, RelevantCAA
from certwatch.doors.failure import LookFailed
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, Observation
from certwatch.pki.caa import identities_of
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors.as_they_end import as_they_end
from collectors.leaves import Leaf, followed, leaves

#: Names of one certificate that are asked about.
MOST_NAMES = 100
#: Certificates at a time.
PAGE = 200
#: Of what a record says, in a fact.
MAX_TEXT = 1000


class CAAConfig(CollectorConfig):
    #: Name servers to ask: "192.0.2.53", "192.0.2.53:5353". Empty: the system's.
    servers: tuple[str, ...] = ()
    #: CAs that are not known here: pattern over the issuer's name → what stands for it in CAA records.
    identities: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    #: Seconds for one look-up.
    timeout: float = Field(default=10, gt=0, le=60)
    #: Most look-ups under way at once.
    concurrency: int = Field(default=20, gt=0, le=500)

    @field_validator("servers")
    @classmethod
    def _are_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for each in servers:
            NameServer.parse(each)
        return servers


class CAACollector:
    """Locations: `caa://NAME?certificate=<SHA-256>`: what DNS says of who may issue for a name, and who has."""

    Config: ClassVar[type[CollectorConfig]] = CAAConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, CAAConfig)  # noqa: S101
        self._config = config
        self._context = context

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        view = followed(self._context, "caa")
        config = self._config
        try:
            lookup = CAALookup(
                [NameServer.parse(each) for each in config.servers],
                timeout=config.timeout,
                concurrency=config.concurrency,
            )
        except LookFailed as failed:
            raise CollectError(failed.kind, failed.error.message) from failed
        source, done = leaves(view), 0
        try:
            while page := await asyncio.to_thread(_take, source):
                asked = (self._ask(lookup, leaf, name) for leaf in page for name in _names(leaf))
                async with as_they_end(asked) as answers:
                    for answer in answers:
                        said = await answer
                        if said is not None:
                            yield said
                done += len(page)
                self._context.progress(done, None)
        finally:
            await lookup.close()

    async def _ask(self, lookup: CAALookup, leaf: Leaf, name: str) -> Observation | None:
        identities = identities_of(leaf.certificate.issuer, self._config.identities)
        if not identities:
            return None  # a CA of one's own, or one that is not known here
        wildcard, bare = name.startswith("*."), name.removeprefix("*.")
        seen = Observation(
            location=caa_location(name, leaf),
            observed_at=self._context.clock(),
            labels=leaf.at.location.labels,
        )
        try:
            relevant = await lookup.relevant(bare)
        except LookFailed as failed:
            return replace(seen, error=failed.error)
        facts: dict[str, Fact] = {
            **leaf.about(),
            "caa_name": name,
            "caa_wildcard": wildcard,
            "caa_issuer": leaf.certificate.issuer[:MAX_TEXT],
            "caa_identities": ",".join(identities),
            **_facts(relevant),
        }
        return replace(seen, facts=facts)


def _names(leaf: Leaf) -> list[str]:
    return [each[4:] for each in leaf.certificate.names[:MOST_NAMES] if each.startswith("dns:")]


def _facts(relevant: RelevantCAA) -> dict[str, Fact]:
    """`caa_issue` and `caa_issuewild`: issuers' names, sorted, joined by commas; empty: nobody. Absent: no such record."""
    found: dict[str, Fact] = {"caa_at": relevant.at}
    for tag in ("issue", "issuewild"):
        values = [each.value for each in relevant.records if each.tag == tag]
        if values:
            # Parameters (accounturi, validationmethods) come after a semicolon; ";" alone forbids all.
            issuers = {value.partition(";")[0].strip().lower().rstrip(".") for value in values}
            found[f"caa_{tag}"] = ",".join(sorted(issuers - {""}))[:MAX_TEXT]
    return found


def caa_location(name: str, leaf: Leaf) -> LocationURI:
    return LocationURI(
        f"caa://{quote(name[:253], safe='*.')}?certificate={leaf.certificate.fingerprint_sha256.hex()}"
    )


def _take(source: Iterator[Leaf]) -> list[Leaf]:
    return list(islice(source, PAGE))
