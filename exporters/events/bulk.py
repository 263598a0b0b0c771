"""HTTP `_bulk` as Elasticsearch, OpenSearch and compatible servers answer it."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from certwatch.telemetry.logs import get_logger
from exporters.events.config import BulkKeys
from exporters.events.ecs import mappings
from exporters.events.sinks import SinkError

log = get_logger(__name__)

#: For one request, whatever the other side does: answers late, drips, never ends.
TIMEOUT_SECONDS = 30.0
#: A bulk answer has an item for each event, with the reason of its error.
MAX_ANSWER_BYTES = 8 << 20
#: About the moment, not about the event (429: its queue is full).
_LATER = frozenset({401, 403, 408, 409, 429})
#: Above the templates for logs-*-* that servers bring, which have 100.
_PRIORITY = 200

_HINTS = {
    401: ". Check username and password_file, or api_key_file",
    403: ". Its user needs create_doc on the index, and manage_index_templates unless template is false",
    404: ". Give the base of the server's URL, without /_bulk",
}


class BulkSink:
    """Creates each event under its own id, so that one sent twice is there once. (In a data stream an id is known
    within the index that is written to: a resend after a rollover may stand there twice.)"""

    def __init__(self, keys: BulkKeys, lost: Callable[[str, int], None]) -> None:
        """`lost(reason, count)`: events that the server refuses for good."""
        self._keys = keys
        self._lost = lost
        self._base = httpx.URL(keys.url)
        self._client: httpx.AsyncClient | None = None
        self._templated = not keys.template

    async def send(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        if not self._templated:
            # First: an index that is made by the first event guesses its types from it.
            await self._put_template()
        status, said = await self._ask(
            "POST", "_bulk", _body(batch, self._keys.index), "application/x-ndjson"
        )
        if status == 413 and len(batch) > 1:
            half = len(batch) // 2
            return [*await self.send(batch[:half]), *batch[half:]]
        if status == 413:
            self._refuse(["too large for the server"])
            return ()
        if not 200 <= status < 300:
            raise SinkError(f"{self._base.host}: HTTP {status}: {_shown(said)}{_HINTS.get(status, '')}")
        return self._unsettled(batch, said)

    def _unsettled(self, batch: Sequence[bytes], said: bytes) -> Sequence[bytes]:
        """Each item by itself: taken, there already, to be tried again, or refused for good."""
        try:
            answer: Any = msgspec.json.decode(said)
            if answer["errors"] is False:
                return ()
            items = [next(iter(item.values())) for item in answer["items"]]
            outcomes = [(int(item["status"]), item.get("error")) for item in items]
        except (
            msgspec.DecodeError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            StopIteration,
        ) as error:
            raise SinkError(f"{self._base.host}: not an answer to _bulk: {_shown(said)}") from error
        if len(outcomes) != len(batch):
            raise SinkError(f"{self._base.host}: answers {len(outcomes)} items to {len(batch)} events")
        rest: list[bytes] = []
        refused: list[Any] = []
        for record, (status, why) in zip(batch, outcomes, strict=True):
            if 200 <= status < 300 or status == 409:
                continue  # 409: it is there, from a request whose answer was lost
            if status >= 500 or status in _LATER:
                rest.append(record)
            else:
                refused.append(why)
        if refused:
            self._refuse(refused)
        if len(rest) == len(batch):
            raise SinkError(f"{self._base.host}: no event taken: {_shown(repr(outcomes[0][1]).encode())}")
        return rest

    def _refuse(self, errors: Sequence[Any]) -> None:
        self._lost("refused", len(errors))
        log.error(
            "events_refused", host=self._base.host, events=len(errors), first=_shown(repr(errors[0]).encode())
        )

    async def _put_template(self) -> None:
        template = {
            "index_patterns": [f"{self._keys.index}*"],
            "priority": _PRIORITY,
            "data_stream": {},
            "template": {"mappings": mappings()},
            "_meta": {"description": "Events of certwatch. Made by it; template: false keeps it from that."},
        }
        path = f"_index_template/{self._keys.index}"
        status, said = await self._ask("PUT", path, msgspec.json.encode(template), "application/json")
        if not 200 <= status < 300:
            raise SinkError(
                f"{self._base.host}: index template {self._keys.index}: HTTP {status}: {_shown(said)}"
                f"{_HINTS.get(status, '')}. template: false goes on without"
            )
        self._templated = True
        log.info("index_template_put", host=self._base.host, index=self._keys.index)

    async def _ask(self, method: str, path: str, content: bytes, media: str) -> tuple[int, bytes]:
        try:
            if self._client is None:
                self._client = await asyncio.to_thread(self._made)
            url = self._base.copy_with(path=self._base.path.rstrip("/") + "/" + path)
            headers = {"Content-Type": media, "Accept-Encoding": "identity"}
            if self._keys.api_key is not None:
                headers["Authorization"] = f"ApiKey {self._keys.api_key.get_secret_value()}"
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream(method, url, content=content, headers=headers) as answer,
            ):
                said = bytearray()
                async for part in answer.aiter_raw():
                    said += part
                    if len(said) > MAX_ANSWER_BYTES:
                        raise SinkError(f"{self._base.host}: an answer of more than {MAX_ANSWER_BYTES} bytes")
                return answer.status_code, bytes(said)
        except TimeoutError as error:
            raise SinkError(f"{self._base.host}: not answered within {TIMEOUT_SECONDS:g} s") from error
        except (httpx.HTTPError, OSError, UnicodeEncodeError) as error:
            raise SinkError(
                f"{self._base.host}: {type(error).__name__}: {_shown(str(error).encode())}"
            ) from error

    def _made(self) -> httpx.AsyncClient:
        """Blocking. Raises OSError (ssl.SSLError is one)."""
        context = ssl.create_default_context(cafile=self._keys.ca_file)
        if self._keys.cert_file is not None:
            context.load_cert_chain(self._keys.cert_file, self._keys.key_file)
        password = self._keys.password
        auth = (
            httpx.BasicAuth(self._keys.username or "", password.get_secret_value())
            if password is not None
            else None
        )
        return httpx.AsyncClient(verify=context, auth=auth, timeout=TIMEOUT_SECONDS, follow_redirects=False)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _body(batch: Sequence[bytes], index: str) -> bytes:
    lines = bytearray()
    for record in batch:
        lines += msgspec.json.encode({"create": {"_index": index, "_id": _id(record)}})
        lines += b"\n" + record + b"\n"
    return bytes(lines)


class _Event(msgspec.Struct):
    id: str


class _Record(msgspec.Struct):
    event: _Event


_decoder = msgspec.json.Decoder(_Record)


def _id(record: bytes) -> str:
    return _decoder.decode(record).event.id


def _shown(said: bytes) -> str:
    """What a server says, for a log: short, on one line."""
    return "".join(each if each.isprintable() else " " for each in said[:300].decode(errors="replace"))
