"""The way out to TLS servers: connect, speak in the clear where the protocol begins so, shake hands, leave.

One `look` never raises for what a server does or does not do: whatever was presented comes back, with an error
beside it if it went no further. It costs at most its time limit and its cap on bytes.
"""

import asyncio
import base64
import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, cast

from certwatch.doors.certificate_message import Presented
from certwatch.doors.dialogue import Carrier, Conversation, Dialogue
from certwatch.doors.failure import LookFailed
from certwatch.doors.glance import Glancer
from certwatch.doors.handshake import Client
from certwatch.doors.proxy import Proxy, through
from certwatch.model.observation import ErrorKind, Fact, LookError

__all__ = ["Client", "Glancer", "Look", "Peer", "look"]


class Attempt(Protocol):
    """A way to be shown a certificate, over bytes: a whole handshake, or a glance at its beginning. `step` it with what
    arrives until `done`; `close` it in any case, once."""

    #: What the time that it takes is called.
    fact: str
    done: bool

    @property
    def refused_without_client_certificate(self) -> bool: ...
    def step(self, data: bytes) -> tuple[bytes, LookFailed | None]: ...
    def farewell(self) -> bytes: ...
    def presented(self) -> Presented: ...
    def facts(self) -> dict[str, Fact]: ...
    def close(self) -> None: ...


class Way(Protocol):
    """What begins attempts: `Client` for handshakes, `Glancer` for glances."""

    def begin(self, where: str, server_name: str | None, *, alpn: bool) -> Attempt: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Whom to look at, and how."""

    #: An address: names are resolved before (`certwatch.doors.dns`).
    address: str
    port: int
    #: SNI, A-labels. None: none is sent.
    server_name: str | None = None
    #: What is said before TLS, made of `where`. None: TLS from the first byte, then with ALPN.
    opening: Callable[[str], Dialogue] | None = None
    #: The way there; `address` may then be a name, which the proxy resolves. None: straight.
    proxy: Proxy | None = None

    @property
    def says(self) -> Callable[[str], Dialogue] | None:
        """All that is said before TLS, to the proxy and then to the server."""
        if self.proxy is None:
            return self.opening
        return through(self.proxy, self.address, self.port, self.opening)

    @property
    def first_stop(self) -> tuple[str, int]:
        """Where to connect to."""
        return (self.address, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)

    @property
    def where(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        named = f" ({self.server_name})" if self.server_name else ""
        by = f" by the proxy {self.proxy.where}" if self.proxy is not None else ""
        return f"{host}:{self.port}{named}{by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of it. `chain` may be there beside an `error`: the handshake failed after the certificates."""

    chain: tuple[bytes, ...] = ()
    facts: dict[str, Fact] = field(default_factory=dict)
    stapled_ocsp: bytes | None = None
    error: LookError | None = None


async def look(client: Way, peer: Peer, *, time_limit: float, max_bytes: int) -> Look:
    """Look at one endpoint. `time_limit`: seconds for everything. `max_bytes`: most that is read from it.

    Cancellation closes the connection at once.
    """
    loop = asyncio.get_running_loop()
    visit = _Visit(client, peer, loop.create_future(), max_bytes)
    # By hand, and not by asyncio.timeout, which costs as much as a glance's parsing.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    cancelled_before = task.cancelling()
    deadline = loop.call_later(time_limit, visit.expire, task, time_limit)
    try:
        try:
            await loop.create_connection(partial(_same, visit), *peer.first_stop)
            await visit.ended
        except asyncio.CancelledError:
            # Ours, if the time was over while it connected; else somebody's, which passes on.
            if not visit.expired or task.uncancel() > cancelled_before:
                raise
        except OSError as error:
            visit.failure = translated(error, peer.where)
        return visit.result()
    finally:
        deadline.cancel()
        visit.leave()


def _same(visit: "_Visit") -> "_Visit":
    return visit


class _Visit(asyncio.Protocol):
    """One connection. `ended` is set when there is no more to learn; `failure` says why it was too soon."""

    __slots__ = (
        "_abort",
        "_carrier",
        "_client",
        "_conversation",
        "_handshake",
        "_left",
        "_peer",
        "_seconds",
        "_since",
        "_transport",
        "ended",
        "expired",
        "failure",
    )

    def __init__(self, client: Way, peer: Peer, ended: asyncio.Future[None], max_bytes: int) -> None:
        self._client = client
        self._peer = peer
        self._left = max_bytes
        self._transport: asyncio.Transport | None = None
        self._conversation: Conversation | None = None
        self._handshake: Attempt | None = None
        #: What carries TLS. None: nothing.
        self._carrier: Carrier | None = None
        #: Nothing that is still to be sent matters.
        self._abort = False
        self._seconds: dict[str, Fact] = {}
        self._since = time.perf_counter()
        self.ended = ended
        #: Its time was over while it connected: the task was cancelled for it.
        self.expired = False
        self.failure: LookFailed | None = None

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if self.ended.done():
            # Given up while connecting.
            self._transport.abort()
            return
        self._lap("connect_seconds")
        says = self._peer.says
        if says is None:
            self._begin_handshake()
            return
        self._conversation = Conversation(says(self._peer.where), self._peer.where)
        self._converse(b"")

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        self._left -= len(data)
        if self._left < 0:
            self._end(
                LookFailed(
                    "malformed",
                    f"{self._peer.where}: sent more bytes than max_bytes allows without finishing the handshake.",
                )
            )
        elif self._handshake is not None:
            try:
                arrived = data if self._carrier is None else self._carrier.unwrap(data)
            except LookFailed as failure:
                self._end(failure)
                return
            if arrived:
                self._shake(self._handshake, arrived)
        else:
            self._converse(data)

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if self._handshake is not None and self._handshake.refused_without_client_certificate:
            # Some servers hang up instead of sending an alert.
            self._lap(self._handshake.fact)
            self._end(None)
            return
        stage = "the STARTTLS dialogue" if self._handshake is None else "the TLS handshake"
        self._end(broken_off(self._peer, error, stage))

    # -- steps

    def _converse(self, data: bytes) -> None:
        conversation = self._conversation
        assert conversation is not None  # noqa: S101 - set with the connection
        try:
            out = conversation.receive(data) if data else conversation.start()
        except LookFailed as failure:
            self._end(failure)
            return
        self._send(out)
        if conversation.done:
            self._lap("starttls_seconds")
            self._carrier = conversation.carrier
            self._begin_handshake()

    def _begin_handshake(self) -> None:
        peer = self._peer
        self._handshake = self._client.begin(peer.where, peer.server_name, alpn=peer.opening is None)
        self._shake(self._handshake, b"")

    def _shake(self, handshake: Attempt, data: bytes) -> None:
        out, failure = handshake.step(data)
        if self._carrier is not None and out:
            out = self._carrier.wrap(out)
        if handshake.done or failure is not None:
            self._lap(handshake.fact)
            if failure is None:
                # Bare in any case: what carries TLS does so during the handshake alone.
                out += handshake.farewell()
            self._send(out)
            self._end(failure)
        else:
            self._send(out)

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _lap(self, fact: str) -> None:
        now = time.perf_counter()
        self._seconds[fact] = now - self._since
        self._since = now

    def _end(self, failure: LookFailed | None) -> None:
        self.failure = failure
        if not self.ended.done():
            self.ended.set_result(None)

    # -- for `look`

    def expire(self, task: asyncio.Task[object], time_limit: float) -> None:
        """Its time is over."""
        if self.ended.done():
            return
        stage: Stage = (
            "connection" if self._transport is None else "opening" if self._handshake is None else "handshake"
        )
        failure = overdue(self._peer, stage, time_limit)
        if self._transport is not None:
            self._abort = True
            self._end(failure)
        else:
            self.failure = failure
            self.expired = True
            task.cancel()

    def leave(self) -> None:
        """Let go of everything, now. Twice is fine."""
        if self._transport is not None:
            if self.ended.done() and not self.ended.cancelled() and not self._abort:
                # Sends what is written (our Finished, close_notify), which the kernel's buffer has room for.
                self._transport.close()
            else:
                self._transport.abort()
        self.ended.cancel()
        if self._conversation is not None:
            self._conversation.close()
        if self._handshake is not None:
            self._handshake.close()

    def result(self) -> Look:
        error = self.failure.error if self.failure is not None else None
        if self._handshake is None:
            return Look(facts=self._seconds, error=error)
        presented = self._handshake.presented()
        facts = self._handshake.facts()
        facts |= self._seconds
        if presented.chain and "swept" not in facts:
            facts["ocsp_stapled"] = presented.stapled_ocsp is not None
        if presented.timestamps is not None:
            facts["tls_timestamps"] = base64.b64encode(presented.timestamps).decode()
        return Look(chain=presented.chain, facts=facts, stapled_ocsp=presented.stapled_ocsp, error=error)


#: How far it has come: it waits for the connection, in what is said before TLS, in the handshake.
Stage = Literal["connection", "opening", "handshake"]

_WAITING: dict[Stage, str] = {
    "connection": "no answer to the connection within {:g} s. Check address, port and firewall.",
    "opening": "accepted the connection and did not finish its greeting or STARTTLS within {:g} s.",
    "handshake": "accepted the connection and did not finish the TLS handshake within {:g} s. Check that the port"
    " speaks TLS.",
}


def overdue(peer: Peer, stage: Stage, time_limit: float) -> LookFailed:
    """What did not come in time."""
    return LookFailed("timeout", f"{peer.where}: {_WAITING[stage].format(time_limit)}")


def broken_off(peer: Peer, error: Exception | None, stage: str) -> LookFailed:
    """The connection ended too soon. `error`: None: it was closed in order."""
    how = "closed" if error is None else "reset"
    return LookFailed(
        "reset",
        f"{peer.where}: the server {how} the connection during {stage}. Its log may say why;"
        " often it wants another server name (SNI), or a proxy has no backend.",
    )


_KINDS: dict[int, ErrorKind] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
    errno.EAFNOSUPPORT: "unreachable",
    # A local firewall (REJECT with admin-prohibited), or a broadcast address.
    errno.EACCES: "unreachable",
    errno.EPERM: "unreachable",
}

_ADVICE: dict[ErrorKind, str] = {
    "refused": "connection refused. Nothing listens there, or a firewall answers for it.",
    "reset": "connection reset before TLS began. Check what listens there.",
    "timeout": "no answer to the connection. Check address, port and firewall.",
}


def translated(error: OSError, where: str) -> LookFailed:
    """A socket's error as one of ours."""
    number = error.errno or 0
    kind = _KINDS.get(number, "other")
    why = _ADVICE.get(kind)
    if number in (errno.EMFILE, errno.ENFILE):
        why = "too many open files here. Raise the limit (ulimit -n) or lower concurrency."
    elif number in (errno.EACCES, errno.EPERM):
        why = "connecting is forbidden on this host. Check its firewall, and that it is no broadcast address."
    elif why is None:
        why = f"{error.strerror or error}. Check the route to it."
    return LookFailed(kind, f"{where}: {why}")
