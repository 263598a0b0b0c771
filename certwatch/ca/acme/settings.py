"""What the ACME server needs to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network

from certwatch.config.ca import AcmeKeys
from certwatch.doors.addresses import AddressPolicy, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeSettings:
    #: Where clients reach it, without a slash at the end; None: as they say themselves.
    url: str | None = None
    #: The first is what a client gets that names none.
    profiles: tuple[str, ...] = ("server",)
    require_binding: bool = False
    #: Private networks in which names may be validated.
    networks: tuple[Network, ...] = ()
    #: Address and port of name servers; none: the system's.
    resolvers: tuple[tuple[str, int], ...] = ()
    http_port: int = 80
    tls_port: int = 443
    #: Of one account.
    orders_per_hour: int = 300
    #: Of one name at one account, until an hour has passed.
    failures_per_hour: int = 5
    order_lifetime: timedelta = timedelta(days=1)
    #: Between two looks at a challenge that was not there yet.
    retry_seconds: Sequence[float] = (1, 3, 6)
    timeout_seconds: float = 10
    terms: str | None = None
    website: str | None = None

    @property
    def policy(self) -> AddressPolicy:
        return AddressPolicy(allowed=self.networks)


def settings_of(keys: AcmeKeys) -> AcmeSettings:
    return AcmeSettings(
        url=keys.url or None,
        profiles=tuple(keys.profiles),
        require_binding=keys.require_binding,
        networks=tuple(ip_network(each) for each in keys.networks),
        resolvers=tuple(_place(each) for each in keys.resolvers),
        http_port=keys.http_port,
        tls_port=keys.tls_port,
        orders_per_hour=keys.orders_per_hour,
        failures_per_hour=keys.failures_per_hour,
        terms=keys.terms or None,
        website=keys.website or None,
    )


def _place(text: str) -> tuple[str, int]:
    """As the config has checked it: 10.0.0.53, 10.0.0.53:5353, [2001:db8::53]:5353."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.removeprefix(":") or 53)
    if text.count(":") > 1:
        return text, 53
    host, _, port = text.partition(":")
    return host, int(port or 53)
