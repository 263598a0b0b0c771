"""Names to addresses, by the system's resolver, off the event loop: bounded, timed, each name once."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal

from certwatch.doors.failure import LookFailed

Family = Literal["any", "ipv4", "ipv6"]

#: Blocking: every address of a name, in the resolver's order. Raises OSError or UnicodeError.
Lookup = Callable[[str, Family], Sequence[str]]

_FAMILIES: dict[Family, socket.AddressFamily] = {
    "any": socket.AF_UNSPEC,
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
}
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


def system_lookup(name: str, family: Family) -> list[str]:
    """By getaddrinfo. "any" leaves out the families that this host has no address of, unless nothing is left:
    a host without IPv6 would find every second address unreachable."""
    wanted = _FAMILIES[family]
    flags = socket.AI_ADDRCONFIG if family == "any" else 0
    try:
        found = socket.getaddrinfo(name, None, wanted, socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        if not flags or error.errno not in _NO_SUCH_NAME:
            raise
        found = socket.getaddrinfo(name, None, wanted, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, slots=True)
class Resolved:
    #: At least one, without repetition, in the resolver's order.
    addresses: tuple[str, ...]
    #: How long the look-up took; the same for all who asked.
    seconds: float


class Resolver:
    """Looks names up for one scan, each once. Belongs to one event loop. `close` it.

    At most `threads` look-ups run at once; one that waits for its turn does not use up its time limit. A thread
    whose look-up has outlived the limit stays taken until the system's resolver gives up. Threads are daemons:
    a stuck resolver does not hold up the end of the program.
    """

    def __init__(
        self,
        *,
        family: Family = "any",
        timeout: float = 10,
        threads: int = 32,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._family = family
        self._timeout = timeout
        self._lookup = lookup
        self._slots = asyncio.Semaphore(threads)
        self._most = threads
        self._threads = 0
        self._idle = 0
        # Owned by the event loop's thread; the workers only take from `_work`.
        self._memo: dict[str, asyncio.Task[Resolved]] = {}
        self._work: SimpleQueue[tuple[str, asyncio.Future[Sequence[str]]] | None] = SimpleQueue()
        self._closed = False

    async def resolve(self, name: str) -> Resolved:
        """Raises LookFailed("dns"). The same answer, or failure, for the resolver's whole life."""
        task = self._memo.get(name)
        if task is None:
            task = self._memo[name] = asyncio.create_task(self._look_up(name))
        # Shielded: whoever else waits for the name must not lose it by one's cancellation.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up what is under way. Does not wait for threads."""
        self._closed = True
        for _ in range(self._threads):
            self._work.put(None)
        for task in self._memo.values():
            task.cancel()
        await asyncio.gather(*self._memo.values(), return_exceptions=True)

    async def _look_up(self, name: str) -> Resolved:
        await self._slots.acquire()
        answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        if self._idle == 0 and self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._serve, daemon=True, name="certwatch-dns").start()
        else:
            self._idle -= 1
        started = time.perf_counter()
        self._work.put((name, answer))
        try:
            async with asyncio.timeout(self._timeout):
                addresses = tuple(await asyncio.shield(answer))
        except TimeoutError as error:
            raise LookFailed(
                "dns",
                f"{name}: no answer from the resolver within {self._timeout:g} s. Check /etc/resolv.conf.",
            ) from error
        except (OSError, UnicodeError) as error:
            final = isinstance(error, OSError) and error.errno in _NO_SUCH_NAME
            raise LookFailed("dns", f"{name}: {_why(error)}", final=final) from error
        if not addresses:
            raise LookFailed("dns", f"{name}: has no address of the wanted family ({self._family}).")
        return Resolved(addresses, time.perf_counter() - started)

    def _serve(self) -> None:
        """A thread's life: one look-up after another until told to stop."""
        while (work := self._work.get()) is not None:
            name, answer = work
            loop = answer.get_loop()
            outcome: Sequence[str] | OSError | UnicodeError
            try:
                outcome = self._lookup(name, self._family)
            except (OSError, UnicodeError) as error:
                outcome = error
            try:
                loop.call_soon_threadsafe(self._answered, answer, outcome)
            except RuntimeError:
                # The loop was closed while the resolver was stuck: nobody waits any more.
                return

    def _answered(
        self, answer: asyncio.Future[Sequence[str]], outcome: Sequence[str] | OSError | UnicodeError
    ) -> None:
        self._idle += 1
        self._slots.release()
        if answer.done():
            return
        if isinstance(outcome, (OSError, UnicodeError)):
            answer.set_exception(outcome)
            # Marks it as looked at: the one who waited may have timed out.
            answer.exception()
        else:
            answer.set_result(outcome)


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "is no name that can be looked up: a label is empty or longer than 63 characters."
    if error.errno in _NO_SUCH_NAME:
        return (
            "does not resolve: no such name, or it has no address. Check the spelling, or remove the target."
        )
    if error.errno == socket.EAI_AGAIN:
        return "the resolver had no answer for now. Check that DNS works on this host."
    if error.errno == errno.EMFILE:
        return "too many open files. Raise the limit (ulimit -n) or lower concurrency."
    return f"cannot be looked up: {error.strerror or error}. Check that DNS works on this host."
