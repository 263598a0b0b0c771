"""Renewed, but not everywhere: what is in a store or at one address, and not yet where it is served."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.location import RECORD_KINDS, TLSEndpoint, parse_tls_location
from certwatch.model.neighbour import Neighbour
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: Nobody wakes a place when another turns back to the certificate that it has itself (a roll-back), so it looks again by
#: itself: after as long as they have differed, between these.
SOONEST, RECHECK = timedelta(seconds=5), timedelta(hours=1)


class NotServedConfig(RuleConfig):
    #: How long a renewed certificate may lie in a store before it is served.
    grace: Duration = timedelta(hours=6)


class AddressesConfig(RuleConfig):
    #: How long the addresses of one name may differ.
    grace: Duration = timedelta(hours=2)


def renews(newer: Certificate, older: Certificate) -> bool:
    """For all of the same names, later, by the same kind of key: servers may have an RSA and an EC certificate."""
    return (
        newer.not_before is not None
        and older.not_before is not None
        and newer.not_after is not None
        and older.not_after is not None
        and newer.not_before > older.not_before
        and newer.not_after > older.not_after
        and newer.key.type == older.key.type
        and set(newer.names) >= set(older.names)
    )


def _first(
    served: Served, world: World, grace: timedelta, among: list[Neighbour]
) -> Iterator[Neighbour | Until]:
    """The one that was there first, if its grace is over."""
    leaf = served.leaf
    if leaf is None:
        return
    newer = [each for each in among if renews(each.certificate, leaf)]
    if not newer:
        return
    first = min(newer, key=lambda each: (each.since, each.location))
    due = first.since + grace
    if world.now < due:
        yield Until(instant=due)
    else:
        yield Until(instant=world.now + min(RECHECK, max(SOONEST, world.now - first.since)))
        yield first


def _not_served(served: Served, config: NotServedConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None:
        return
    stored = [
        each for each in world.neighbours if each.location.partition(":")[0] not in ("tls", *RECORD_KINDS)
    ]
    for said in _first(served, world, config.grace, stored):
        if isinstance(said, Until):
            yield said
            continue
        end = leaf.not_after.isoformat().replace("+00:00", "Z") if leaf.not_after else "an unknown time"
        yield Problem(
            severity="ticket",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{leaf.shown} was renewed, and the old certificate is still served",
            text=f"The new one lies at {said.location} since {said.since:%Y-%m-%dT%H:%MZ}; the one that is served ends at "
            f"{end}. Reload the server, and see that a renewal does so by itself (a deploy hook of certbot or acme.sh, "
            "reloader in Kubernetes).",
        )


def _addresses(served: Served, config: AddressesConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None:
        return
    here = parse_tls_location(served.location.uri)
    beside = [
        each
        for each in world.neighbours
        if each.location.startswith("tls:") and _same_service(here, parse_tls_location(each.location))
    ]
    for said in _first(served, world, config.grace, beside):
        if isinstance(said, Until):
            yield said
            continue
        there = parse_tls_location(said.location).host
        yield Problem(
            severity="ticket",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{here.server_name}: {here.host} still serves the certificate before the renewal",
            text=f"{there} serves the new one since {said.since:%Y-%m-%dT%H:%MZ}. Bring it to {here.host} and reload what "
            "serves there: some clients meet the old one, and will meet its end.",
        )


def _same_service(one: TLSEndpoint, other: TLSEndpoint) -> bool:
    return (
        one.server_name is not None
        and (one.server_name, one.port, one.protocol) == (other.server_name, other.port, other.protocol)
        and one.host != other.host
    )


NOT_SERVED = Rule(
    id="renewed-not-served",
    title="Certificate was renewed, and the old one is still served",
    why="A newer certificate for the same names lies in a file or a store, and an endpoint goes on with the old one: the "
    "renewal worked, the roll-out did not. Everybody believes that it is done, until the old one ends.",
    fix="Reload what serves it, then find out why that did not happen by itself. Both places: `certwatch list NAME`.",
    severity="ticket",
    source="certwatch",
    evaluate=_not_served,
    Config=NotServedConfig,
    kinds=frozenset(["tls"]),
)
ADDRESSES = Rule(
    id="addresses-differ",
    title="Addresses of one name serve different certificates",
    why="A name has several addresses (replicas, regions, IPv4 and IPv6), and some of them have not got its renewed "
    "certificate. A client may meet any of them.",
    fix="Bring the new certificate to the addresses that are named, and reload them.",
    severity="ticket",
    source="certwatch",
    evaluate=_addresses,
    Config=AddressesConfig,
    kinds=frozenset(["tls"]),
)
