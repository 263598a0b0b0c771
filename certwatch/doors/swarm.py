"""Glances at a great many endpoints: sockets of its own in one epoll, which the event loop watches as one file.

A glance (`certwatch.doors.glance`) is so little work that what an event loop does for each connection (a transport, a
protocol, a task, a timer) costs as much again. Here a connection is one object and six system calls.
"""

import asyncio
import errno
import os
import select
import socket
import time

from certwatch.doors.failure import LookFailed
from certwatch.doors.glance import Glance
from certwatch.doors.tls import Look, Peer, Stage, broken_off, overdue, translated
from certwatch.model.observation import Fact

#: Linux only; elsewhere glances go the way of all looks.
AVAILABLE = hasattr(select, "epoll")

#: Most events that are handled before others have their turn.
_EVENTS = 128
_PIECE = 16384
_CONNECTING = (0, errno.EINPROGRESS)
#: The connection came about, and was over at once.
_AFTER = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


class _Flight:
    """One connection. Owned by the swarm."""

    __slots__ = ("deadline", "ended", "glance", "left", "peer", "seconds", "since", "socket")

    def __init__(
        self, peer: Peer, opened: socket.socket, ended: asyncio.Future[Look], deadline: float, max_bytes: int
    ) -> None:
        self.peer = peer
        self.socket = opened
        self.ended = ended
        #: By time.perf_counter, as `since`.
        self.deadline = deadline
        self.left = max_bytes
        #: None: not connected yet.
        self.glance: Glance | None = None
        self.seconds: dict[str, Fact] = {}
        self.since = time.perf_counter()


class Swarm:
    """Owned by one event loop. `close` it."""

    def __init__(self, *, time_limit: float, max_bytes: int) -> None:
        self._time_limit = time_limit
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        #: By file number; in the order of their beginnings, which is that of their deadlines.
        self._flights: dict[int, _Flight] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    async def look(self, peer: Peer) -> Look:
        """One glance at an address, TLS from the first byte. Never raises for what the server does; cancellation closes
        the connection at once."""
        try:
            opened = socket.socket(
                socket.AF_INET6 if ":" in peer.address else socket.AF_INET,
                socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            )
        except OSError as error:
            return Look(error=translated(error, peer.where).error)
        ended: asyncio.Future[Look] = self._loop.create_future()
        flight = _Flight(peer, opened, ended, time.perf_counter() + self._time_limit, self._max_bytes)
        try:
            status = opened.connect_ex((peer.address, peer.port))
            if status not in _CONNECTING:
                return Look(error=translated(OSError(status, os.strerror(status)), peer.where).error)
            # Edge-triggered, so that it need not be told again what is waited for.
            self._epoll.register(opened, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
            self._flights[opened.fileno()] = flight
            if self._timer is None:
                self._timer = self._loop.call_later(self._time_limit, self._expire)
            return await ended
        finally:
            self._flights.pop(opened.fileno(), None)
            opened.close()

    def close(self) -> None:
        """Let go of everything; what is under way is cancelled. Twice is fine."""
        if self._epoll.closed:
            return
        self._loop.remove_reader(self._epoll.fileno())
        if self._timer is not None:
            self._timer.cancel()
        for flight in self._flights.values():
            flight.ended.cancel()
            flight.socket.close()
        self._flights.clear()
        self._epoll.close()

    def _ready(self) -> None:
        for number, _ in self._epoll.poll(0, _EVENTS):
            flight = self._flights.get(number)
            if flight is None or flight.ended.done():
                continue
            try:
                if flight.glance is not None:
                    self._receive(flight, flight.glance)
                else:
                    self._greet(flight)
            except BlockingIOError:
                continue
            except OSError as error:
                failure = (
                    broken_off(flight.peer, error, "the TLS handshake")
                    if flight.glance is not None
                    else translated(error, flight.peer.where)
                )
                self._end(flight, failure)

    def _greet(self, flight: _Flight) -> None:
        peer = flight.peer
        glance = Glance(peer.where, peer.server_name, alpn=True)
        hello, _ = glance.step(b"")
        try:
            flight.socket.send(hello)
        except OSError as error:
            if error.errno in _AFTER:
                flight.glance = glance
                self._lap(flight, "connect_seconds")
            raise
        flight.glance = glance
        self._lap(flight, "connect_seconds")

    def _receive(self, flight: _Flight, glance: Glance) -> None:
        # Until there is no more: it is not told again.
        while True:
            data = flight.socket.recv(_PIECE)
            if not data:
                self._end(flight, broken_off(flight.peer, None, "the TLS handshake"))
                return
            flight.left -= len(data)
            _, failure = glance.step(data)
            if failure is None and flight.left < 0 and not glance.done:
                failure = LookFailed(
                    "malformed", f"{flight.peer.where}: sent more bytes than max_bytes allows."
                )
            if glance.done or failure is not None:
                self._lap(flight, Glance.fact)
                self._end(flight, failure)
                return

    @staticmethod
    def _lap(flight: _Flight, fact: str) -> None:
        now = time.perf_counter()
        flight.seconds[fact] = now - flight.since
        flight.since = now

    @staticmethod
    def _end(flight: _Flight, failure: LookFailed | None) -> None:
        glance = flight.glance
        error = failure.error if failure is not None else None
        if glance is None:
            flight.ended.set_result(Look(facts=flight.seconds, error=error))
            return
        facts = glance.facts()
        facts |= flight.seconds
        flight.ended.set_result(Look(chain=glance.presented().chain, facts=facts, error=error))

    def _expire(self) -> None:
        now = time.perf_counter()
        self._timer = None
        for flight in self._flights.values():
            if flight.ended.done():
                continue
            if flight.deadline > now:
                self._timer = self._loop.call_later(flight.deadline - now, self._expire)
                return
            stage: Stage = "handshake" if flight.glance is not None else "connection"
            self._end(flight, overdue(flight.peer, stage, self._time_limit))
