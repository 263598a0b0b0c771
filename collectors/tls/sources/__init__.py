"""Targets that stand elsewhere, found anew by each scan. A source that cannot be read keeps what it said last."""

import asyncio
import base64
import fnmatch
import glob
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import Fetcher, FetchPolicy
from certwatch.model.observation import ErrorKind, Incomplete, LookError
from certwatch.telemetry.logs import get_logger
from collectors.tls.sources import groups, records
from collectors.tls.sources.config import DNSSource, HTTPSource
from collectors.tls.targets import Target

log = get_logger(__name__)

#: Of one list.
MAX_BYTES = 64 << 20
#: Look-ups of one scan under way at once.
AT_ONCE = 20


@dataclass(slots=True)
class Found:
    """What all sources say, now."""

    #: By the source's kind: "file_sd", "http_sd", "dns".
    targets: dict[str, list[Target]] = field(default_factory=dict)
    incomplete: list[Incomplete] = field(default_factory=list)

    @property
    def all(self) -> list[Target]:
        return groups.only_first(each for targets in self.targets.values() for each in targets)


class Sources:
    """Owned by the running scan, or by following between two scans."""

    def __init__(
        self, file_sd: Sequence[str], http_sd: Sequence[HTTPSource], dns: Sequence[DNSSource]
    ) -> None:
        self._file_sd = tuple(file_sd)
        self._http_sd = tuple(http_sd)
        self._dns = tuple(dns)
        #: By the source's name, as it said last.
        self._last: dict[str, tuple[Target, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._file_sd or self._http_sd or self._dns)

    def folders(self) -> list[Path]:
        """Where lists in files stand. Blocking."""
        return [Path(os.path.dirname(_absolute(each))) for each in self._file_sd]

    async def find(self) -> Found:
        found = Found()
        await self.find_files(found)
        if self._http_sd or self._dns:
            turns = asyncio.Semaphore(AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for http in self._http_sd:
                    group.create_task(self._fetch(found, http, turns))
                for dns in self._dns:
                    for name in dns.names:
                        group.create_task(self._look_up(found, dns, name, turns))
                    if dns.zone is not None:
                        group.create_task(self._transfer(found, dns, turns))
        return found

    async def find_files(self, found: Found) -> None:
        for pattern in self._file_sd:
            try:
                named = await asyncio.to_thread(_files, pattern)
            except OSError as error:
                message = f"{pattern}: {error.strerror or error}. Mend the path, or grant access"
                self._failed(found, "file_sd", f"file_sd {pattern}", "not-found", message)
                continue
            for path in named:
                source = f"file_sd {path}"
                try:
                    listed = await asyncio.to_thread(_read_file, path)
                except OSError as error:
                    kind: ErrorKind = "permission" if isinstance(error, PermissionError) else "other"
                    self._failed(found, "file_sd", source, kind, f"{path}: {error.strerror or error}")
                except groups.NotAList as error:
                    self._failed(found, "file_sd", source, "malformed", f"{path}: {error}")
                else:
                    self._take(found, "file_sd", source, listed, path)
            # A file of a pattern that is gone took its targets with it.
            for source in [each for each in self._last if each.startswith("file_sd ")]:
                path = source.removeprefix("file_sd ")
                if path not in named and fnmatch.fnmatchcase(path, _absolute(pattern)):
                    del self._last[source]

    async def _fetch(self, found: Found, http: HTTPSource, turns: asyncio.Semaphore) -> None:
        source = f"http_sd {http.url}"
        try:
            async with turns:
                policy = FetchPolicy.configured(max_bytes=MAX_BYTES, timeout_seconds=http.timeout)
                tls = await asyncio.to_thread(_context, http.ca_file)
                async with Fetcher(policy, tls=tls) as fetcher:
                    fetched = await fetcher.get(http.url, headers=_headers(http))
            listed = await asyncio.to_thread(groups.read, fetched.body, trusted=False)
        except LookFailed as error:
            self._failed(found, "http_sd", source, error.kind, error.message)
        except OSError as error:
            self._failed(found, "http_sd", source, "other", f"{http.ca_file}: {error.strerror or error}")
        except groups.NotAList as error:
            self._failed(found, "http_sd", source, "malformed", f"{http.url}: {error}")
        else:
            self._take(found, "http_sd", source, listed, http.url)

    async def _look_up(self, found: Found, dns: DNSSource, name: str, turns: asyncio.Semaphore) -> None:
        source = f"dns {name} {dns.type}"
        try:
            async with turns:
                targets = await records.look_up(dns, name)
        except LookFailed as error:
            self._failed(found, "dns", source, error.kind, error.message)
        else:
            self._take(found, "dns", source, groups.Listed(targets=tuple(targets)), name)

    async def _transfer(self, found: Found, dns: DNSSource, turns: asyncio.Semaphore) -> None:
        source = f"dns zone {dns.zone}"
        try:
            async with turns:
                targets = await asyncio.to_thread(records.zone, dns)
        except LookFailed as error:
            self._failed(found, "dns", source, error.kind, error.message)
        else:
            self._take(found, "dns", source, groups.Listed(targets=tuple(targets)), str(dns.zone))

    def _take(self, found: Found, kind: str, source: str, listed: groups.Listed, where: str) -> None:
        self._last[source] = listed.targets
        found.targets.setdefault(kind, []).extend(listed.targets)
        if listed.refused:
            message = f"{where}: {listed.refused} entries are no targets, the first: {listed.example}. Mend the list"
            found.incomplete.append(
                Incomplete(scope=source, error=LookError(kind="malformed", message=_line(message)))
            )

    def _failed(self, found: Found, kind: str, source: str, error: ErrorKind, message: str) -> None:
        """What it said last is looked at. Before it has said anything, nobody knows what belongs to it: then nothing of
        the collector may be retired."""
        known = self._last.get(source)
        found.targets.setdefault(kind, []).extend(known or ())
        scope = source if known is not None else ""
        found.incomplete.append(Incomplete(scope=scope, error=LookError(kind=error, message=_line(message))))
        log.warning("target_source_failed", source=source, error=_line(message))


def _absolute(pattern: str) -> str:
    return os.path.abspath(os.path.expanduser(pattern))


def _files(pattern: str) -> list[str]:
    """A pattern may match nothing, but its folder is to be there. Raises OSError."""
    path = _absolute(pattern)
    if not glob.has_magic(path):
        return [path]
    folder = os.path.dirname(path)
    if not glob.has_magic(folder):
        os.scandir(folder).close()
    return sorted(each for each in glob.glob(path) if os.path.isfile(each))


def _read_file(path: str) -> groups.Listed:
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise groups.NotAList(f"larger than {MAX_BYTES} bytes")
    return groups.read(data, trusted=True)


def _headers(http: HTTPSource) -> dict[str, str]:
    # As Prometheus says it, so that one server can answer both.
    headers = {"Accept": "application/json"}
    if http.token is not None:
        headers["Authorization"] = f"Bearer {http.token.get_secret_value()}"
    elif http.username:
        password = http.password.get_secret_value() if http.password else ""
        headers["Authorization"] = (
            "Basic " + base64.b64encode(f"{http.username}:{password}".encode()).decode()
        )
    return headers


def _context(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:1000]
