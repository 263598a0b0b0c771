"""Certificates in anybody's JSON: a URL, page by page, and paths to what matters in each entry (RFC 9535)."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import quote, urljoin, urlsplit

import jsonpath
from pydantic import AfterValidator, Field, SecretStr, model_validator

from certwatch.doors.json_api import MAX_PAGES, Limits, RestClient, RestError
from certwatch.doors.rest import RequestFailed, client_tls
from certwatch.doors.url import parse_web_address
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from certwatch.model.shown import shown
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from certwatch.x509 import der
from collectors import stored_value

_LONGEST = 200
_MOST_TARGETS = 20
_MOST_CERTIFICATES = 50
#: Entries that are looked at in one go.
_PART = 500
#: Entries of one listing.
MOST_ENTRIES = 1_000_000


def _is_path(text: str) -> str:
    try:
        jsonpath.compile(text)
    except (jsonpath.JSONPathError, RecursionError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(f"{shown(text)[:80]!r} is no JSONPath: {said}") from error
    return text


def _is_url(text: str) -> str:
    parse_web_address(text)
    return text


Path = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_is_path)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$")]


class JSONConfig(CollectorConfig):
    #: What is asked, by GET.
    url: Annotated[str, AfterValidator(_is_url)]
    #: To the entries; each becomes one location.
    entries: Path = "$[*]"
    #: In an entry: to PEM, or base64 of DER. Several: a chain, the leaf first.
    certificate: Path
    #: In an entry: to what tells it apart and stays. None: the certificate itself.
    id: Path | None = None
    #: In an entry: to labels, `owner` among them.
    labels_from: Mapping[Name, Path] = Field(default_factory=dict, max_length=30)
    #: In an entry: to the names (or name:port) that it is served at: targets of a tls collector.
    targets: Path | None = None
    #: In a page: to the next page's URL, or with `next_parameter` to that parameter's value. A Link header is followed, too.
    next: Path | None = None
    next_parameter: str | None = Field(default=None, min_length=1, max_length=200)
    #: Sent as a bearer token; with `token_header` as it is, in that header.
    token: SecretStr | None = None
    token_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,100}$")] | None = None
    #: Basic authentication.
    username: str | None = None
    password: SecretStr | None = None
    #: File of the server's own CA. None: what this system trusts.
    trust: str | None = None
    #: Files of the certificate and key to log in with.
    client_certificate: str | None = None
    client_key: str | None = None
    #: Requests a second.
    rate: float = Field(default=10, gt=0, le=10_000)
    #: Attempts at a request that is throttled or fails.
    attempts: int = Field(default=6, ge=1, le=20)
    #: Seconds for one answer.
    timeout: float = Field(default=30, gt=0, le=600)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.token is not None and self.username is not None:
            raise ValueError("say either token or username")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.token_header is not None and self.token is None:
            raise ValueError("token_header belongs to token")
        if self.next_parameter is not None and self.next is None:
            raise ValueError("next_parameter belongs to next")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key belongs to client_certificate")
        secret = self.token is not None or self.password is not None
        address = parse_web_address(self.url)
        if secret and address.scheme == "http" and address.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("http:// shows the token to everybody on the way: write https://")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    #: None: it has no such thing.
    id: str | None
    certificates: tuple[str, ...]
    labels: Mapping[str, str]
    targets: tuple[str, ...]


class JSONCollector:
    """Locations: `json://COLLECTOR/ID`."""

    Config: ClassVar[type[CollectorConfig]] = JSONConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, JSONConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not JSONConfig")
        self._name = name
        self._config = config
        self._context = context
        self._paths = _Paths(config)

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        config = self._config
        try:
            tls = await asyncio.to_thread(_tls, config)
        except RequestFailed as failed:
            raise CollectError(failed.kind, f"{self._name}: {failed.message}") from failed
        parts = urlsplit(config.url)
        limits = Limits(rate=config.rate, attempts=config.attempts, timeout=config.timeout, concurrency=1)
        client = RestClient(
            "json",
            f"{parts.scheme}://{parts.netloc}",
            clock=self._context.clock,
            limits=limits,
            tls=tls,
            headers=_credentials(config),
        )
        told: set[str] = set()
        entries = 0
        async with client:
            try:
                async for page in self._pages(client):
                    async for each in self._page(page, entries):
                        entries += 1
                        if entries > MOST_ENTRIES:
                            raise RestError("malformed", f"{config.url}: more than {MOST_ENTRIES} entries.")
                        if each.location in told:
                            each = self._twice(each, entries)
                        told.add(each.location)
                        self._context.progress(entries, None)
                        yield each
            except RestError as error:
                if not told:
                    raise CollectError(error.kind, f"{self._name}: {error.message}") from error
                yield Incomplete(
                    scope="",
                    error=LookError(kind=error.kind, message=f"{self._name}: {error.message}"),
                )

    async def _pages(self, client: RestClient) -> AsyncIterator[Any]:
        """Raises RestError."""
        url, value = self._config.url, ""
        parameter = self._config.next_parameter
        asked: set[tuple[str, str]] = set()
        for _ in range(MAX_PAGES):
            if (url, value) in asked:
                raise RestError("malformed", f"{_plain(url)}: names a page twice as the next.")
            asked.add((url, value))
            answer = await client.ask("GET", url, {parameter: value} if parameter and value else None)
            yield answer.content
            found = await asyncio.to_thread(self._paths.following, answer.content)
            if found and parameter:
                value = found
            elif found or answer.following:
                url = _joined(url, found or answer.following)
            else:
                return
        raise RestError("malformed", f"{_plain(url)}: more than {MAX_PAGES} pages.")

    async def _page(self, page: Any, before: int) -> AsyncIterator[Observation]:
        looks = self._observed(page, before)
        while part := await asyncio.to_thread(lambda: list(islice(looks, _PART))):
            for each in part:
                yield each

    def _observed(self, page: Any, before: int) -> Iterator[Observation]:
        """Raises RestError. Blocking."""
        for number, entry in enumerate(self._paths.entries(page), before + 1):
            yield self._look(entry, number)

    def _look(self, entry: _Entry, number: int) -> Observation:
        chain: tuple[bytes, ...] = ()
        unread = False
        for text in entry.certificates[:_MOST_CERTIFICATES]:
            found = stored_value.chain(text)
            unread |= not found
            chain += found
        chain = tuple(dict.fromkeys(chain))[:_MOST_CERTIFICATES]
        id = entry.id
        if id is None:
            id = der.read(chain[0]).fingerprint_sha256.hex() if chain and self._config.id is None else None
        error = None
        named = f"{self._name}: entry {shown(id) if id is not None else number}"
        if unread:
            message = f"{named}: {self._config.certificate} is neither PEM nor base64 of DER"
            error = LookError(kind="malformed", message=message)
        elif not chain:
            message = f"{named}: has nothing at {self._config.certificate}"
            error = LookError(kind="no-certificate", message=message)
        elif id is None:
            error = LookError(
                kind="malformed", message=f"{self._name}: entry {number}: has nothing at {self._config.id}"
            )
        facts: dict[str, Fact] = {}
        if entry.targets:
            facts["tls_targets"] = " ".join(entry.targets)
        return Observation(
            location=self._uri(id if id is not None else f"#{number}"),
            observed_at=self._context.clock(),
            chain=() if error is not None else chain,
            facts=facts if error is None else {},
            labels=dict(entry.labels),
            error=error,
        )

    def _uri(self, id: str) -> LocationURI:
        return LocationURI(f"json://{quote(self._name, safe='')}/{quote(id, safe='')}")

    def _twice(self, seen: Observation, number: int) -> Observation:
        """An entry whose id another one has had: it gets a place of its own, and says so."""
        message = f"{self._name}: entry {number}: its id is another entry's, too: {seen.location}"
        return Observation(
            location=self._uri(f"#{number}"),
            observed_at=seen.observed_at,
            error=LookError(kind="malformed", message=message),
            labels=seen.labels,
        )


class _Paths:
    """The config's, compiled."""

    def __init__(self, config: JSONConfig) -> None:
        self._entries = jsonpath.compile(config.entries)
        self._holder_text = config.entries.rstrip().removesuffix("[*]")
        self._holder = (
            None
            if self._holder_text in (config.entries.rstrip(), "$") or self._holder_text.endswith(".")
            else jsonpath.compile(self._holder_text)
        )
        self._certificate = jsonpath.compile(config.certificate)
        self._id = jsonpath.compile(config.id) if config.id is not None else None
        self._labels = {name: jsonpath.compile(path) for name, path in config.labels_from.items()}
        self._targets = jsonpath.compile(config.targets) if config.targets is not None else None
        self._next = jsonpath.compile(config.next) if config.next is not None else None
        self._url = _plain(config.url)

    def following(self, page: Any) -> str:
        """Empty: it was the last. Raises RestError."""
        return next(iter(self._texts(self._next, page)), "") if self._next is not None else ""

    def entries(self, page: Any) -> Iterator[_Entry]:
        """Raises RestError."""
        found = self._found(self._entries, page)
        if not found and self._holder is not None and not self._found(self._holder, page):
            # Not the same as an empty list, which says that all of them are gone.
            raise RestError(
                "malformed", f"{self._url}: has nothing at {self._holder_text}: see entries in the config."
            )
        for each in found:
            ids = self._texts(self._id, each) if self._id is not None else []
            labels = {
                name: value[:_LONGEST]
                for name, path in self._labels.items()
                for value in self._texts(path, each)[:1]
                if value
            }
            targets = self._texts(self._targets, each) if self._targets is not None else []
            yield _Entry(
                id=ids[0][:_LONGEST] if ids and ids[0] else None,
                certificates=tuple(self._texts(self._certificate, each)),
                labels=labels,
                targets=tuple(shown for it in targets[:_MOST_TARGETS] if (shown := _target(it)) is not None),
            )

    def _texts(self, path: jsonpath.JSONPath | jsonpath.CompoundJSONPath, tree: Any) -> list[str]:
        return [
            str(each)
            for found in self._found(path, tree)
            for each in (found if isinstance(found, list) else (found,))
            if isinstance(each, str | int) and not isinstance(each, bool)
        ]

    def _found(self, path: jsonpath.JSONPath | jsonpath.CompoundJSONPath, tree: Any) -> list[Any]:
        if not isinstance(tree, dict | list):
            # An entry that is a text is its own certificate: "$".
            return [tree] if str(path) == "$" else []
        try:
            return list(path.findall(tree))
        except (jsonpath.JSONPathError, RecursionError, TypeError, ValueError) as error:
            raise RestError(
                "malformed", f"{self._url}: {path} cannot be followed: {shown(str(error)[:200])}."
            ) from error


def _target(text: str) -> str | None:
    text = text.strip()
    if not text or " " in text or "*" in text or len(text) > _LONGEST or not text.isprintable():
        return None
    return text if ":" in text else f"{text}:443"


def _joined(url: str, link: str) -> str:
    try:
        return urljoin(url, link)
    except ValueError as error:
        raise RestError(
            "malformed", f"{_plain(url)}: names {shown(link)[:100]!r} as the next page, which is no URL."
        ) from error


def _plain(url: str) -> str:
    """Without a query, which may hold a token."""
    return url.partition("?")[0]


def _tls(config: JSONConfig) -> ssl.SSLContext | None:
    if config.trust is None and config.client_certificate is None:
        return None
    return client_tls(config.trust, config.client_certificate, config.client_key)


def _credentials(config: JSONConfig) -> dict[str, str]:
    if config.token is not None:
        value = config.token.get_secret_value()
        return {config.token_header: value} if config.token_header else {"Authorization": f"Bearer {value}"}
    if config.username is not None and config.password is not None:
        pair = f"{config.username}:{config.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}
