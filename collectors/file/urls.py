"""Files that stand at a URL: certificates, containers and CRLs, fetched and read as those on disk."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import FetchCache, Fetcher, FetchPolicy
from certwatch.doors.url import parse_web_address
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI, url_location
from certwatch.model.observation import Incomplete, LookError, Observation
from collectors.file.contents import Contents, one_line
from collectors.file.passphrases import Secrets
from collectors.file.read import Limits, fetched

#: URLs fetched at once.
AT_ONCE = 20


def _address(text: str) -> str:
    """In the one form that its locations have."""
    return parse_web_address(text).url


class URLSource(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_address)]
    #: Basic authentication, with `password`.
    username: str = ""
    password: SecretStr | None = None
    #: Bearer token.
    token: SecretStr | None = None
    #: CA of the server's certificate. None: the system's.
    ca_file: str | None = None
    #: Seconds.
    timeout: float = Field(default=30, gt=0, le=600)


def as_source(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class URLs:
    """Owned by the running scan; two never run at once."""

    def __init__(self, sources: Sequence[URLSource], limits: Limits, clock: Clock) -> None:
        self._sources = tuple(sources)
        self._limits = limits
        self._clock = clock
        self._cache = FetchCache()
        #: Of each URL the places that it showed last.
        self._places: dict[str, tuple[LocationURI, ...]] = {}

    async def look(self, secrets: Secrets) -> AsyncIterator[Observation | Incomplete]:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(source: URLSource) -> list[Observation | Incomplete]:
            async with turns:
                return await self._look(source, secrets)

        tasks = [asyncio.create_task(one(source)) for source in self._sources]
        try:
            for task in tasks:
                for each in await task:
                    yield each
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, source: URLSource, secrets: Secrets) -> list[Observation | Incomplete]:
        url = source.url
        try:
            body = await self._fetch(source)
        except LookFailed as failure:
            return self._failed(url, failure.error)
        except OSError as error:
            message = f"{source.ca_file}: {error.strerror or error}. Mend ca_file"
            return self._failed(url, LookError(kind="other", message=one_line(message)))
        held = await asyncio.to_thread(fetched, url, body, secrets.for_path(url))
        now = self._clock()
        said = [
            Observation(
                location=_place(url, each),
                observed_at=now,
                chain=each.chain,
                facts=each.facts,
                error=each.error,
                scope=url,
            )
            for each in held
        ]
        self._places[url] = tuple(each.location for each in said)
        return list(said)

    async def _fetch(self, source: URLSource) -> bytes:
        # A revocation list may be larger than anything else; what it is, is seen when it is there.
        most = self._limits.crl_bytes if source.url.lower().endswith(".crl") else self._limits.bytes
        policy = FetchPolicy.configured(max_bytes=most, timeout_seconds=source.timeout)
        tls = await asyncio.to_thread(lambda: ssl.create_default_context(cafile=source.ca_file))
        async with Fetcher(policy, cache=self._cache, tls=tls) as fetcher:
            return (await fetcher.get(source.url, headers=_headers(source))).body

    def _failed(self, url: str, error: LookError) -> list[Observation | Incomplete]:
        """Its places stay, with the error. Before it has shown any, nobody knows them: then none is retired."""
        known = self._places.get(url)
        places = known or (url_location(url),)
        now = self._clock()
        said: list[Observation | Incomplete] = [
            Observation(location=each, observed_at=now, error=error, scope=url) for each in places
        ]
        return said if known else [*said, Incomplete(scope=url, error=error)]


def _place(url: str, part: Contents) -> LocationURI:
    """A CRL's place is its URL, as for those that certificates name."""
    if "crl_kind" in part.facts and not part.entry:
        return LocationURI(url)
    return url_location(url, part.entry)


def _headers(source: URLSource) -> dict[str, str]:
    if source.token is not None:
        return {"Authorization": f"Bearer {source.token.get_secret_value()}"}
    if source.username:
        password = source.password.get_secret_value() if source.password else ""
        return {
            "Authorization": "Basic " + base64.b64encode(f"{source.username}:{password}".encode()).decode()
        }
    return {}
