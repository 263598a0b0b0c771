"""One endpoint → one observation."""

from dataclasses import dataclass
from functools import partial

from certwatch.doors.dns import Resolved
from certwatch.doors.failure import LookFailed
from certwatch.doors.tls import Client, Peer, look
from certwatch.model.clock import Clock
from certwatch.model.location import tls_location
from certwatch.model.observation import Fact, Observation
from collectors.tls.plan import Endpoint
from collectors.tls.staple import staple_facts
from collectors.tls.starttls import PROTOCOLS

#: Least that is left for an address after a slow look-up of its name, in seconds.
_LEAST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """How endpoints of one scan are looked at."""

    client: Client
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
        )
        spent = endpoint.dns_seconds
        seen = await look(
            self.client,
            peer,
            time_limit=self.timeout if spent is None else max(self.timeout - spent, _LEAST),
            max_bytes=self.max_bytes,
        )
        facts: dict[str, Fact] = seen.facts
        if spent is not None:
            facts["dns_seconds"] = spent
        if seen.stapled_ocsp is not None and seen.chain:
            facts |= staple_facts(seen.stapled_ocsp, seen.chain, self.clock())
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
        )

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
