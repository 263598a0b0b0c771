"""Looks at TLS endpoints: names, addresses, networks, with STARTTLS where the protocol begins in the clear."""

import asyncio
import resource
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from certwatch.doors.dns import Family, Resolver, system_lookup
from certwatch.doors.tls import Client
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from certwatch.telemetry.logs import get_logger
from collectors.tls.crew import Crew
from collectors.tls.discovered import discovered
from collectors.tls.own_ports import with_own_ports
from collectors.tls.plan import Plan
from collectors.tls.probe import Prober
from collectors.tls.rate import Rate
from collectors.tls.results import Results
from collectors.tls.targets import LISTENING, host_name, parse, parse_exclusion

__all__ = ["TLSCollector", "TLSConfig"]

log = get_logger(__name__)

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
    #: Which addresses of a name are looked at. any: those of the families that this host has addresses of.
    family: Family = "any"

    @model_validator(mode="after")
    def _looks_at_something(self) -> "TLSConfig":
        if not self.targets and not self.targets_from:
            raise ValueError("name targets, or with targets_from a collector that knows them")
        return self


class TLSCollector:
    Config: ClassVar[type[CollectorConfig]] = TLSConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, TLSConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not TLSConfig")
        self._config = config
        self._context = context
        self._targets = [parse(text) for text in config.targets]
        self._exclusions = [parse_exclusion(text) for text in config.exclude]

    def lookup(self, name: str, family: Family) -> Sequence[str]:
        """Every address of a name; blocks, in a thread. Raises OSError."""
        return system_lookup(name, family)

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        config = self._config
        try:
            targets = await asyncio.to_thread(with_own_ports, self._targets)
        except OSError as error:
            targets = [each for each in self._targets if not each.listening]
            message = (
                f"{LISTENING}: this host does not say what listens on it: {error}. Name the ports as targets"
            )
            yield Incomplete(scope=LISTENING, error=LookError(kind="other", message=message))
        if config.targets_from and self._context.view is not None:
            # After those that were written: an endpoint that is named twice belongs to the first.
            found = await asyncio.to_thread(discovered, self._context.view, config.targets_from)
            targets = [*targets, *found]
        results: Results[Observation | Incomplete] = Results(_RESULTS)
        resolver = Resolver(family=config.family, timeout=config.timeout, lookup=self.lookup)
        crew = Crew(
            plan=Plan(targets, self._exclusions, config.server_name),
            prober=Prober(
                client=Client(),
                clock=self._context.clock,
                timeout=config.timeout,
                max_bytes=config.max_bytes,
            ),
            resolver=resolver,
            results=results,
            concurrency=_affordable(config.concurrency),
            rate=Rate(config.rate) if config.rate is not None else None,
            progress=self._context.progress,
        )
        work = asyncio.create_task(crew.run(config.total_timeout))
        work.add_done_callback(lambda task: results.close(None if task.cancelled() else task.exception()))
        try:
            while batch := await results.take():
                for result in batch:
                    yield result
        finally:
            work.cancel()
            await asyncio.wait([work])
            await resolver.close()
