"""One endpoint → one observation."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from certwatch.doors.dns import Resolved
from certwatch.doors.failure import LookFailed
from certwatch.doors.proxy import Proxy
from certwatch.doors.swarm import Swarm
from certwatch.doors.tls import Client, Glancer, Look, Peer, look
from certwatch.model.clock import Clock
from certwatch.model.location import tls_location
from certwatch.model.observation import ErrorKind, Fact, Observation
from collectors.tls.plan import Endpoint
from collectors.tls.staple import staple_facts, timestamp_facts
from collectors.tls.starttls import PROTOCOLS

#: Least that is left for an address after a slow look-up of its name, in seconds.
_LEAST = 0.5
#: How a glance ends that says nothing: the server may speak TLS 1.3 alone, or wants what a glance does not offer.
_UNDECIDED: frozenset[ErrorKind] = frozenset({"tls-alert", "reset", "malformed", "no-certificate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """How endpoints of one scan are looked at."""

    client: Client
    #: Looks that go no further than the certificate, where that suffices. None: full handshakes.
    glancer: Glancer | None = None
    #: The same, for a great many endpoints that speak TLS from the first byte. None: not on this system.
    swarm: Swarm | None = None
    #: Waits for leave to connect once more. None: it is free.
    another: Callable[[], Awaitable[None]] | None = None
    #: The way there, which resolves names as well. None: straight.
    proxy: Proxy | None = None
    clock: Clock
    #: Seconds for look-up, connection, dialogue and handshake together.
    timeout: float
    max_bytes: int

    async def probe(self, endpoint: Endpoint) -> Observation:
        """`endpoint.host` is an address. Never raises for what the server does."""
        protocol = endpoint.target.protocol
        peer = Peer(
            address=endpoint.host,
            port=endpoint.port,
            server_name=endpoint.server_name,
            opening=partial(PROTOCOLS[protocol].dialogue, server_name=endpoint.server_name)
            if protocol is not None
            else None,
            proxy=self.proxy,
        )
        spent = endpoint.dns_seconds
        time_limit = self.timeout if spent is None else max(self.timeout - spent, _LEAST)
        seen = await self._look(peer, time_limit)
        facts: dict[str, Fact] = seen.facts
        if spent is not None:
            facts["dns_seconds"] = spent
        if seen.stapled_ocsp is not None and seen.chain:
            facts |= staple_facts(seen.stapled_ocsp, seen.chain, self.clock())
            facts |= timestamp_facts(seen.stapled_ocsp)
        return Observation(
            location=tls_location(
                endpoint.host, endpoint.port, server_name=endpoint.server_name, protocol=protocol
            ),
            observed_at=self.clock(),
            chain=seen.chain,
            facts=facts,
            error=seen.error,
            labels=dict(endpoint.target.labels),
            stapled_ocsp=seen.stapled_ocsp,
            scope=endpoint.target.text,
            guessed=endpoint.target.is_guess,
            absent=endpoint.step is not None and self.proxy is None and "connect_seconds" not in facts,
        )

    async def _look(self, peer: Peer, time_limit: float) -> Look:
        if self.glancer is not None:
            began = asyncio.get_running_loop().time()
            if self.swarm is not None and peer.opening is None and self.proxy is None:
                seen = await self.swarm.look(peer)
            else:
                seen = await look(self.glancer, peer, time_limit=time_limit, max_bytes=self.max_bytes)
            if seen.error is None or seen.error.kind not in _UNDECIDED or "connect_seconds" not in seen.facts:
                return seen
            if self.another is not None:
                await self.another()
            time_limit = max(time_limit - (asyncio.get_running_loop().time() - began), _LEAST)
        return await look(self.client, peer, time_limit=time_limit, max_bytes=self.max_bytes)

    def unresolved(self, endpoint: Endpoint, failure: LookFailed) -> Observation:
        """Of a name without address: its location is named by the name."""
        return Observation(
            location=tls_location(
                endpoint.host,
                endpoint.port,
                server_name=endpoint.server_name,
                protocol=endpoint.target.protocol,
            ),
            observed_at=self.clock(),
            error=failure.error,
            labels=dict(endpoint.target.labels),
            scope=endpoint.target.text,
            guessed=endpoint.target.discovered,
        )


def addresses_of(endpoint: Endpoint, resolved: Resolved) -> list[Endpoint]:
    """The endpoint once for each address of its name."""
    return [
        endpoint._replace(host=address, is_name=False, dns_seconds=resolved.seconds)
        for address in resolved.addresses
    ]
