"""Looks at TLS endpoints: names, addresses, networks, with STARTTLS where the protocol begins in the clear."""

import asyncio
import resource
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from certwatch.doors.changes import changes
from certwatch.doors.dns import Family, Resolver, system_lookup
from certwatch.doors.failure import LookFailed
from certwatch.doors.proxy import parse_proxy
from certwatch.doors.swarm import AVAILABLE, Swarm
from certwatch.doors.tls import Client, Glancer
from certwatch.model.location import LocationURI
from certwatch.model.observation import Continued, Gone, Incomplete, LookError, Observation, Unchanged
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext, no_progress
from certwatch.telemetry.logs import get_logger
from collectors.tls.crew import Crew
from collectors.tls.discovered import discovered
from collectors.tls.own_ports import with_own_ports
from collectors.tls.passes import Walk
from collectors.tls.plan import Plan
from collectors.tls.probe import Prober
from collectors.tls.rate import Rate
from collectors.tls.reach import Reach, endpoint_of
from collectors.tls.results import Results
from collectors.tls.sources import Found, Sources
from collectors.tls.sources.config import DNSSource, HTTPSource
from collectors.tls.staples import Staples
from collectors.tls.tally import Tally
from collectors.tls.targets import LISTENING, Target, host_name, parse, parse_exclusion

__all__ = ["TLSCollector", "TLSConfig"]

log = get_logger(__name__)

Said = Observation | Incomplete | Unchanged | Continued

#: Open files that the rest of the process may need.
_OTHER_FILES = 128
#: Results that wait to be taken.
_RESULTS = 1000


def _target(text: str) -> str:
    parse(text)
    return text


def _exclusion(text: str) -> str:
    parse_exclusion(text)
    return text


def _proxy(url: SecretStr) -> SecretStr:
    parse_proxy(url.get_secret_value())
    return url


def _as_source(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


def _affordable(concurrency: int) -> int:
    """As many looks at once as the limit of open files leaves sockets for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return concurrency
    most = max(1, soft - _OTHER_FILES)
    if most < concurrency:
        log.warning("tls_concurrency_lowered", configured=concurrency, to=most, open_files_limit=soft)
    return min(concurrency, most)


class TLSConfig(CollectorConfig):
    #: `host`, `host:port`, `host:port/smtp`, `10.20.0.0/24:443,8443,9000-9010`, `[2001:db8::1]:443`, an IPv6
    #: CIDR, `tls://host:port/?sni=name`, `listening` (this host's own ports). Without port: 443, or the protocol's own.
    targets: list[Annotated[str, AfterValidator(_target)]] = Field(default_factory=list, min_length=1)
    #: Names of collectors whose places say where they are served (kubernetes): those endpoints are targets as well.
    targets_from: list[str] = Field(default_factory=list, min_length=1)
    #: Prometheus' target lists in files (paths, globs), watched: JSON or YAML.
    file_sd: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, min_length=1)
    #: The same at URLs, fetched by each scan.
    http_sd: list[Annotated[HTTPSource, BeforeValidator(_as_source)]] = Field(
        default_factory=list, min_length=1
    )
    #: Names that DNS is asked for (A, AAAA, SRV, MX), and zones that are transferred, by each scan.
    dns: list[DNSSource] = Field(default_factory=list, min_length=1)
    #: Hosts, addresses, CIDRs, with ports or without, that are never connected to, whoever names them.
    exclude: list[Annotated[str, AfterValidator(_exclusion)]] = Field(default_factory=list)
    #: Server name (SNI) for all targets. None: the target's own name, none for addresses.
    server_name: Annotated[str, AfterValidator(host_name)] | None = None
    #: Seconds for one endpoint: look-up, connection, dialogue and handshake together.
    timeout: float = Field(default=10, gt=0, le=600)
    #: Seconds for the whole scan; what is not seen by then makes it partial. None: as long as it takes.
    total_timeout: float | None = Field(default=None, gt=0)
    #: Most looks under way at once.
    concurrency: int = Field(default=500, ge=1, le=20_000)
    #: Most new connections a second. None: as many as this host manages.
    rate: float | None = Field(default=None, gt=0)
    #: Most bytes read from one endpoint.
    max_bytes: int = Field(default=256 * 1024, ge=4096)
    #: The way to all targets: `http://host:port` (CONNECT) or `socks5://host:port`, with user and password where it wants
    #: them. It resolves the names of targets. None: straight.
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    #: A client certificate for servers that ask for one: PEM, leaf first. None: none is shown.
    cert_file: Annotated[str, Field(min_length=1)] | None = None
    #: Its unencrypted private key, PEM. None: in the same file.
    key_file: Annotated[str, Field(min_length=1)] | None = None
    #: For a great many endpoints: read the certificate in the clear of TLS 1.2 and leave, without cryptography; a full
    #: handshake only where there is no such thing.
    sweep: bool = False
    #: Which addresses of a name are looked at. any: those of the families that this host has addresses of.
    family: Family = "any"

    @property
    def after(self) -> Sequence[str]:
        return self.targets_from

    @model_validator(mode="after")
    def _looks_at_something(self) -> "TLSConfig":
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file: name the certificate as well, in cert_file")
        if not (self.targets or self.targets_from or self.file_sd or self.http_sd or self.dns):
            raise ValueError("name targets, or where they stand: file_sd, http_sd, dns, targets_from")
        return self


class TLSCollector:
    Config: ClassVar[type[CollectorConfig]] = TLSConfig
    location_kinds: ClassVar[frozenset[str]] = frozenset({"tls"})

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, TLSConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not TLSConfig")
        self._name = name
        self._config = config
        self._context = context
        self._targets = [parse(text) for text in config.targets]
        self._exclusions = [parse_exclusion(text) for text in config.exclude]
        self._reach: Reach | None = None
        self._sources = Sources(config.file_sd, config.http_sd, config.dns)
        # Of the last scan, and of what was followed since: where each target of a list in a file was seen.
        self._places: dict[str, set[LocationURI]] = {}
        self._staples = Staples()

    def parts(self, size: int) -> int:
        """By what the config itself names: what lists and DNS name is not known before it is looked at. With a `rate`, which
        is for all of it together, it is not divided."""
        if self._config.rate is not None:
            return 1
        known = Plan(self._targets, self._exclusions, self._config.server_name).total
        return max(1, -(-known // size))

    def leads_to(self, location: LocationURI) -> bool | None:
        """Lists elsewhere, other collectors' places and this host's own ports may name anything that is not excluded."""
        if self._reach is None:
            self._reach = Reach(self._targets, self._exclusions, self._config.server_name)
        endpoint = endpoint_of(location)
        if endpoint is None or self._reach.excludes(endpoint):
            return False
        if self._reach.has(endpoint):
            return True
        config = self._config
        lists = config.targets_from or config.file_sd or config.http_sd or config.dns
        return None if lists or any(each.listening for each in self._targets) else False

    def lookup(self, name: str, family: Family) -> Sequence[str]:
        """Every address of a name; blocks, in a thread. Raises OSError."""
        return system_lookup(name, family)

    async def collect(self) -> AsyncIterator[Said]:
        config = self._config
        part = self._context.part
        tally = Tally(self._name, part)
        try:
            targets = await asyncio.to_thread(with_own_ports, self._targets)
        except OSError as error:
            targets = [each for each in self._targets if not each.listening]
            message = (
                f"{LISTENING}: this host does not say what listens on it: {error}. Name the ports as targets"
            )
            if part.index == 0:
                yield Incomplete(scope=LISTENING, error=LookError(kind="other", message=message))
        tally.expect("targets", targets)
        written = len(targets)
        # After those that were written: an endpoint that is named twice belongs to the first.
        if self._sources:
            found = await self._sources.find()
            for incomplete in found.incomplete:
                yield incomplete
            for kind, listed in found.targets.items():
                tally.expect(kind, listed)
            targets = [*targets, *found.all]
            self._places = {each.text: set() for each in found.targets.get("file_sd", ())}
        if config.targets_from and self._context.view is not None:
            targets = [
                *targets,
                *await asyncio.to_thread(discovered, self._context.view, config.targets_from),
            ]
        elif config.targets_from:
            message = f"{self._name}: targets_from: here is no inventory to read them from"
            yield Incomplete(scope="", error=LookError(kind="other", message=message))
        looks = self._look(
            targets,
            config.total_timeout,
            self._context.progress,
            folder=self._context.state_folder,
            written=written,
        )
        async with aclosing(looks):
            async for result in looks:
                if isinstance(result, Observation):
                    tally.see(result)
                    self._remember(result)
                    yield self._staples.noted(result)
                else:
                    yield result
        tally.tell(self._context.tell_targets)

    async def follow(self) -> AsyncIterator[Observation | Gone]:
        """What changes in target lists in files: new targets are looked at, those that are gone are told."""
        if not self._config.file_sd:
            await asyncio.Event().wait()
        folders = await asyncio.to_thread(self._sources.folders)
        async for _ in changes(folders, recursive=False):
            found = Found()
            await self._sources.find_files(found)
            listed = {each.text: each for each in found.targets.get("file_sd", ())}
            # What cannot be read now is not gone.
            gone = [] if found.incomplete else [text for text in self._places if text not in listed]
            looks = self._look([each for text, each in listed.items() if text not in self._places], None)
            async with aclosing(looks):
                async for result in looks:
                    if isinstance(result, Observation):
                        self._places.setdefault(result.scope, set())
                        self._remember(result)
                        yield result
            left = {place for text, places in self._places.items() if text not in gone for place in places}
            for text in gone:
                for place in self._places.pop(text) - left:
                    yield Gone(location=place, observed_at=self._context.clock())

    def _remember(self, seen: Observation) -> None:
        places = self._places.get(seen.scope)
        if places is not None:
            places.add(seen.location)

    async def _look(
        self,
        targets: Sequence[Target],
        total_timeout: float | None,
        progress: Callable[[int, int | None], None] = no_progress,
        *,
        folder: Path | None = None,
        written: int | None = None,
    ) -> AsyncGenerator[Said, None]:
        """`folder`: where it stands how far the networks have been walked. None: they are walked from the beginning.
        `written`: so many of the targets, the first, stand in the config itself. None: all."""
        config = self._config
        try:
            # Read by each scan: they are renewed.
            client = await asyncio.to_thread(
                Client, certificate_file=config.cert_file, key_file=config.key_file
            )
        except LookFailed as failure:
            raise CollectError(failure.kind, f"{self._name}: {failure.message}") from failure
        plan = Plan(targets, self._exclusions, config.server_name, part=self._context.part, fixed=written)
        walk = await Walk.begin(plan, folder, self._context.clock) if plan.wide else None
        rate = Rate(config.rate) if config.rate is not None else None
        results: Results[Observation | Incomplete] = Results(_RESULTS)
        resolver = Resolver(family=config.family, timeout=config.timeout, lookup=self.lookup)
        swarm = (
            Swarm(time_limit=config.timeout, max_bytes=config.max_bytes)
            if config.sweep and AVAILABLE
            else None
        )
        crew = Crew(
            plan=plan,
            prober=Prober(
                client=client,
                proxy=parse_proxy(config.proxy.get_secret_value()) if config.proxy is not None else None,
                glancer=Glancer() if config.sweep else None,
                swarm=swarm,
                another=rate.take if rate is not None else None,
                clock=self._context.clock,
                timeout=config.timeout,
                max_bytes=config.max_bytes,
            ),
            resolver=resolver,
            results=results,
            concurrency=_affordable(config.concurrency),
            rate=rate,
            progress=progress,
            step=walk.step if walk is not None else 0,
        )
        keeping = asyncio.create_task(walk.keep(crew.mark)) if walk is not None else None
        work = asyncio.create_task(crew.run(total_timeout))
        work.add_done_callback(lambda task: results.close(None if task.cancelled() else task.exception()))
        try:
            while batch := await results.take():
                for result in batch:
                    yield result
            if walk is not None:
                for said in walk.end(has_met_anyone=crew.has_met_anyone):
                    yield said
                await walk.close(crew.mark())
        finally:
            work.cancel()
            await asyncio.wait([work])
            if keeping is not None:
                keeping.cancel()
                await asyncio.wait([keeping])
            if swarm is not None:
                swarm.close()
            await resolver.close()
