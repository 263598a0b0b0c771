"""Connections by name to addresses that were checked, and to no others."""

import asyncio
from collections.abc import Iterable

import httpcore

from certwatch.doors.addresses import AddressPolicy
from certwatch.doors.dns import Resolver
from certwatch.doors.failure import LookFailed
from certwatch.model.observation import ErrorKind


class FetchError(LookFailed):
    """A URL was not fetched. `again`: trying later makes sense; `retry_after`: not before so many seconds."""

    def __init__(
        self, kind: ErrorKind, message: str, *, again: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(kind, message)
        self.again = again
        self.retry_after = retry_after


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """What httpcore connects through. Raises FetchError where the policy forbids it."""

    def __init__(self, resolver: Resolver, policy: AddressPolicy) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._resolver = resolver
        self._policy = policy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host)
        failed: httpcore.ConnectError | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except httpcore.ConnectError as error:
                failed = error
        assert failed is not None  # noqa: S101 - there is at least one address
        raise failed

    async def _addresses(self, host: str) -> tuple[str, ...]:
        bare = host.strip("[]")
        literal = ":" in bare or bare.replace(".", "").isdigit()
        try:
            found = (bare,) if literal else (await self._resolver.resolve(bare)).addresses
        except LookFailed as error:
            raise FetchError(error.kind, error.message, again=True) from error
        # All of them: a name that has a private address beside a public one is refused, not lucky.
        for address in found:
            why = self._policy.why_not(address)
            if why is not None:
                raise FetchError(
                    "permission",
                    f"{host}: leads to {address}, {why}, and is not asked. If that is yours, open its network in the "
                    "config.",
                )
        return found

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
