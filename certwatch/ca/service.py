"""The authority as the event loop sees it: nothing here blocks, and orders that come together share their commits.

To have a certificate made of a CSR:

    order = await service.order(csr, "server", requester="web-7", submitter="web-7", channel="http")
    answer = await service.submit(order)      # Certified, or Waiting: people must approve first

Both raise CAError, whose `kind` says what it was. Without an event loop the same is `request.order_of` and
`approvals.submit(authority, order)`.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

from certwatch.ca import approvals
from certwatch.ca.approvals import Waiting
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified, issue
from certwatch.ca.profiles import profile_named
from certwatch.ca.request import Channel, Order, load_csr, order_of

#: Orders that wait for their turn; more are refused ("busy").
MOST_WAITING = 2000
#: Orders of one pair of commits.
BATCH = 256
#: Threads for what only reads, and for signatures beside the ledger (OCSP).
READERS = 4

T = TypeVar("T")


class Service:
    """Owned by the event loop's thread. The authority acts in one thread of its own."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self._acting = ThreadPoolExecutor(1, thread_name_prefix="certwatch-ca")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="certwatch-ca-read")
        #: Appended to by the loop, taken from by the acting thread.
        self._waiting: deque[tuple[Order, asyncio.Future[Certified]]] = deque()

    async def act(self, function: Callable[[Authority], T]) -> T:
        """What changes something, after all that was asked before. Raises CAError."""
        return await asyncio.get_running_loop().run_in_executor(self._acting, function, self.authority)

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What only reads, beside whatever is acting. Raises CAError."""

        return await self.beside(lambda: self.authority.readers.ask(function))

    async def beside(self, function: Callable[[], T]) -> T:
        """What takes time and needs no turn: a signature that is no entry of the ledger. Raises CAError."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, function)

    async def order(
        self,
        csr: bytes,
        profile: str,
        *,
        requester: str,
        submitter: str,
        channel: Channel,
        names: tuple[str, ...] = (),
        lifetime: timedelta | None = None,
        issuer: str | None = None,
        replaces: str | None = None,
    ) -> Order:
        """Of a CSR (PEM or DER), its proof of possession and every field checked. Raises CAError."""

        def make() -> Order:
            return order_of(
                load_csr(csr),
                profile_named(self.authority.settings.profiles, profile),
                requester=requester,
                submitter=submitter,
                channel=channel,
                names=names,
                lifetime=lifetime,
                issuer=issuer,
                replaces=replaces,
            )

        return await self.beside(make)

    async def submit(self, order: Order) -> Certified | Waiting:
        """It is on disk and in the ledger when this returns. Raises CAError."""
        profile = self.authority.settings.profiles.get(order.profile)
        if profile is not None and profile.approvals:
            return await self.act(lambda authority: approvals.submit(authority, order))
        if len(self._waiting) >= MOST_WAITING:
            raise CAError("busy", f"{MOST_WAITING} orders wait already. Try again later")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Certified] = loop.create_future()
        self._waiting.append((order, answer))
        # Each order brings one round; what a round finds waiting it takes, and the later ones find nothing.
        self._acting.submit(self._round, loop)
        return await answer

    def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        taken: list[tuple[Order, asyncio.Future[Certified]]] = []
        while self._waiting and len(taken) < BATCH:
            taken.append(self._waiting.popleft())
        if not taken:
            return
        answers: list[Certified | Exception]
        try:
            answers = [*issue(self.authority, [(order, None) for order, _ in taken])]
        except Exception as error:  # every one of them is told, whatever it was
            answers = [error for _ in taken]

        def tell() -> None:
            for (_, future), answer in zip(taken, answers, strict=True):
                if future.done():
                    continue  # who asked has gone; the certificate is recorded
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

        loop.call_soon_threadsafe(tell)

    async def close(self) -> None:
        """After what is under way. Then the authority may be closed."""

        def end() -> None:
            self._acting.shutdown(wait=True)
            self._reading.shutdown(wait=True)

        await asyncio.to_thread(end)
