"""The ways to people: everything that apprise knows, and a webhook of our own."""

import asyncio
import hashlib
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

import apprise
import httpx

from exporters.notify.message import Message, clean
from exporters.notify.render import as_html, as_json, as_text

#: For one message, whatever the other side does. A thread that hangs longer is left behind.
SEND_SECONDS = 30.0
#: Threads that hang, before more are refused.
MAX_HANGING = 8
MAX_ANSWER_BYTES = 64 << 10
WEBHOOKS = ("webhook+http://", "webhook+https://")

#: Nothing of what apprise writes or asks for by itself: no files of its own, no colours, no plug-ins from disk.
_ASSET = apprise.AppriseAsset(
    app_id="certwatch",
    app_desc="certwatch",
    app_url="",
    storage_mode=apprise.PersistentStoreMode.MEMORY,
    async_mode=False,
    plugin_paths=[],
)


class NotSent(Exception):
    """Trying again makes sense. No secret stands in the message."""


class Way(Protocol):
    #: What a log may say of it: no secret.
    shown: str

    async def send(self, message: Message) -> None:
        """Raises NotSent. Bounded in time."""
        ...


def way(url: str, client: Callable[[], httpx.AsyncClient]) -> Way:
    """`client`: for webhooks. Raises ValueError, which does not show the URL."""
    if url.startswith(WEBHOOKS):
        return Webhook(url, client)
    return AppriseWay(url)


def key(route: str, url: str) -> str:
    """Names the state of one receiver: the same after a restart, and nothing can be read from it."""
    return hashlib.sha256(f"{route}\0{url}".encode()).hexdigest()[:24]


class Webhook:
    """POSTs JSON. Any 2xx is taken as received."""

    def __init__(self, url: str, client: Callable[[], httpx.AsyncClient]) -> None:
        try:
            self._url = httpx.URL(url.removeprefix("webhook+"))
        except httpx.InvalidURL:
            raise ValueError("a webhook's URL is not one") from None
        if not self._url.host:
            raise ValueError("a webhook's URL has no host")
        self._client = client
        # Path and query are secrets in most webhooks.
        self.shown = f"webhook to {self._url.host}"

    async def send(self, message: Message) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        try:
            async with (
                asyncio.timeout(SEND_SECONDS),
                self._client().stream("POST", self._url, content=as_json(message), headers=headers) as answer,
            ):
                read = 0
                async for part in answer.aiter_raw():
                    read += len(part)
                    if read > MAX_ANSWER_BYTES:
                        break
        except TimeoutError as error:
            raise NotSent(f"not answered within {SEND_SECONDS:g} s") from error
        except httpx.HTTPError as error:
            raise NotSent(type(error).__name__) from error
        if not answer.is_success:
            raise NotSent(f"HTTP {answer.status_code}")


class AppriseWay:
    """One URL of apprise. HTML where it is taken (e-mail), plain text elsewhere."""

    def __init__(self, url: str) -> None:
        made = apprise.Apprise.instantiate(url, asset=_ASSET, suppress_exceptions=True)
        scheme = url.partition(":")[0]
        if not isinstance(made, apprise.NotifyBase):
            known = scheme if re.fullmatch(r"[a-z][a-z0-9+]{0,20}", scheme) else "?"
            raise ValueError(
                f"a URL that begins with {known}:// is not understood by apprise. See docs/notifications.md"
            )
        self._apprise = apprise.Apprise(asset=_ASSET)
        self._apprise.add(made)
        # One format or several, by service; apprise's types know one alone.
        formats: Any = made.notify_format
        self._html = apprise.NotifyFormat.HTML in (formats if isinstance(formats, tuple) else (formats,))
        self._secrets = [part for part in re.split(r"[/:@?&=]+", url)[1:] if len(part) >= 4]
        self.shown = scheme

    async def send(self, message: Message) -> None:
        # HTML: apprise puts plain text beside it where the service takes both.
        body = as_html(message) if self._html else as_text(message)
        media = apprise.NotifyFormat.HTML if self._html else apprise.NotifyFormat.TEXT
        kind = apprise.NotifyType.WARNING if message.new or message.open else apprise.NotifyType.INFO

        def blocking() -> tuple[bool, str]:
            said = _heard.begin()
            sent = self._apprise.notify(body=body, title=message.title, body_format=media, notify_type=kind)
            return bool(sent), "; ".join(said)

        sent, said = await _in_thread(blocking)
        if not sent:
            for secret in self._secrets:
                said = said.replace(secret, "****")
            raise NotSent(clean(said, 300) or "apprise could not deliver it")


class _Heard(logging.Handler):
    """What apprise says in its log while it sends: why it failed. It goes nowhere else, since it may hold secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def begin(self) -> list[str]:
        self._of_thread.said = []
        return cast("list[str]", self._of_thread.said)

    def emit(self, record: logging.LogRecord) -> None:
        said: list[str] | None = getattr(self._of_thread, "said", None)
        if said is not None and len(said) < 5:
            said.append(record.getMessage())


_heard = _Heard()
_log = logging.getLogger("apprise")
_log.handlers[:] = [_heard]
_log.propagate = False
_log.setLevel(logging.WARNING)

# Owned by the event loop's thread: threads that have not come back.
_hanging = 0


async def _in_thread(blocking: Callable[[], tuple[bool, str]]) -> tuple[bool, str]:
    """In a thread of its own that the end of the program does not wait for. Raises NotSent if it does not come back."""
    global _hanging
    if _hanging >= MAX_HANGING:
        raise NotSent(f"{_hanging} earlier messages are still on their way")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[bool, str]] = loop.create_future()

    def came_back(result: tuple[bool, str]) -> None:
        global _hanging
        _hanging -= 1
        if not done.done():
            done.set_result(result)

    def run() -> None:
        result = False, "it failed in an unforeseen way"
        try:
            result = blocking()
        finally:
            try:
                loop.call_soon_threadsafe(came_back, result)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

    _hanging += 1
    threading.Thread(target=run, name="certwatch-notify", daemon=True).start()
    try:
        async with asyncio.timeout(SEND_SECONDS):
            return await done
    except TimeoutError as error:
        raise NotSent(f"not sent within {SEND_SECONDS:g} s") from error
