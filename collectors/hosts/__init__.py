"""Hosts that are expected to be seen: from lists, file_sd and DNS zones. Whether they are, the rule `host-unseen` says."""

import asyncio
import glob
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from certwatch.doors.dns_records import NameServer, hosts_of_zone
from certwatch.doors.failure import LookFailed
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from collectors.hosts.lists import Host, ListError, parse_file_sd, parse_host, parse_list

#: Larger files are no lists.
MAX_BYTES = 64 << 20


class ZoneConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: "example.com"
    name: str
    #: Its name server, that allows a transfer (AXFR) to this host: "192.0.2.53", "192.0.2.53:5353".
    server: str
    #: Where they are expected to serve TLS.
    ports: tuple[int, ...] = (443,)

    @field_validator("server")
    @classmethod
    def _is_server(cls, server: str) -> str:
        NameServer.parse(server)
        return server


class HostsConfig(CollectorConfig):
    #: Hosts, each with a port or without (443).
    hosts: tuple[str, ...] = ()
    #: Files with one host a line; globs.
    lists: tuple[str, ...] = ()
    #: Prometheus' file_sd, JSON or YAML; globs.
    file_sd: tuple[str, ...] = ()
    #: DNS zones that are transferred.
    zones: tuple[ZoneConfig, ...] = ()
    #: Seconds for the transfer of a zone.
    timeout: float = Field(default=30, gt=0, le=600)

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for each in hosts:
            parse_host(each)
        return hosts

    @model_validator(mode="after")
    def _names_any(self) -> "HostsConfig":
        if not (self.hosts or self.lists or self.file_sd or self.zones):
            raise ValueError("nothing is expected: give hosts, lists, file_sd or zones")
        return self


class HostsCollector:
    """Locations: `host://NAME:PORT`, a host that is expected."""

    Config: ClassVar[type[CollectorConfig]] = HostsConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, HostsConfig)  # noqa: S101
        self._config = config
        self._context = context

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        config = self._config
        for text in config.hosts:
            yield self._expected(parse_host(text), "")
        for patterns, parse in ((config.lists, parse_list), (config.file_sd, parse_file_sd)):
            for pattern in patterns:
                async for said in self._of_files(pattern, parse):
                    yield said
        for zone in config.zones:
            async for said in self._of_zone(zone):
                yield said

    async def _of_files(
        self, pattern: str, parse: Callable[[str, bytes], Iterator[Host]]
    ) -> AsyncIterator[Observation | Incomplete]:
        """Each file whole or not at all: what stands in a list that cannot be read is not gone."""
        paths = await asyncio.to_thread(lambda: sorted(glob.glob(pattern, recursive=True)))
        if not paths and not glob.has_magic(pattern):
            paths = [pattern]
        if not paths:
            error = LookError(kind="not-found", message=f"{pattern}: matches no file")
            yield Incomplete(scope=pattern, error=error)
        for path in paths:
            try:
                hosts = await asyncio.to_thread(_read, path, parse)
            except (ListError, OSError) as error:
                kind = "malformed" if isinstance(error, ListError) else "not-found"
                message = str(error) if isinstance(error, ListError) else f"{path}: {error.strerror}"
                yield Incomplete(
                    scope=pattern,
                    error=LookError(
                        kind="malformed" if kind == "malformed" else "not-found", message=message
                    ),
                )
                continue
            for each in hosts:
                yield self._expected(each, pattern)

    async def _of_zone(self, zone: ZoneConfig) -> AsyncIterator[Observation | Incomplete]:
        try:
            names = await hosts_of_zone(
                zone.name, NameServer.parse(zone.server), seconds=self._config.timeout
            )
        except LookFailed as failed:
            yield Incomplete(scope=zone.name, error=failed.error)
            return
        for name in names:
            for port in zone.ports:
                yield self._expected(Host(name=name, port=port), zone.name)

    def _expected(self, host: Host, scope: str) -> Observation:
        shown = f"[{host.name}]" if ":" in host.name else host.name
        return Observation(
            location=LocationURI(f"host://{shown}:{host.port}"),
            observed_at=self._context.clock(),
            facts={"expected_host": host.name, "expected_port": host.port},
            labels=host.labels,
            scope=scope,
        )


def _read(path: str, parse: Callable[[str, bytes], Iterator[Host]]) -> list[Host]:
    with Path(path).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ListError(f"{path}: larger than {MAX_BYTES} bytes: no list of hosts")
    return list(parse(path, data))
