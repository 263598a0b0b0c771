"""Targets that other collectors know: what a cluster says that it serves, read from the inventory."""

from collections.abc import Collection

from certwatch.plugins.view import InventoryView
from certwatch.telemetry.logs import get_logger
from collectors.tls.targets import Target, parse

log = get_logger(__name__)

#: The fact by which a place says where it is served (`model.observation.FACTS`).
FACT = "tls_targets"
#: More are left out, and said.
MOST = 100_000


def discovered(view: InventoryView, collectors: Collection[str]) -> list[Target]:
    """Targets that places of these collectors name, each once, in the order of the inventory. Blocking."""
    wanted = frozenset(collectors)
    found: dict[str, Target] = {}
    left_out = unreadable = 0
    for served in view.live():
        named = served.facts.get(FACT)
        if not isinstance(named, str) or wanted.isdisjoint(served.collectors):
            continue
        for text in named.split():
            if text in found:
                continue
            if len(found) >= MOST:
                left_out += 1
                continue
            target = _target(text)
            if target is None:
                unreadable += 1
            else:
                found[text] = target
    if left_out or unreadable:
        log.warning("tls_targets_left_out", too_many=left_out, unreadable=unreadable)
    return list(found.values())


def _target(text: str) -> Target | None:
    """One endpoint: who may write objects into a cluster must not make us walk networks."""
    try:
        target = parse(text)
    except ValueError:
        return None
    several = target.network is not None and target.network.num_addresses > 1
    if target.listening or several or sum(map(len, target.probed_ports)) != 1:
        return None
    return Target(
        text=target.text,
        name=target.name,
        network=target.network,
        zone=target.zone,
        ports=target.ports,
        protocol=target.protocol,
        server_name=target.server_name,
        discovered=True,
    )
