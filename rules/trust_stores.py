"""Trust stores that nobody keeps: with roots that have ended or were taken out, without those that their siblings have."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.pki.trust import TrustStore
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

SHOWN = 3
#: A store is held against a configured one if it has this part of its roots: else it is no copy of it.
COPY = 0.5


def _anchors(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if served.facts.get("arrangement") != "bundle":
        return
    anchors = [each for each in served.chain if each.is_ca and each.is_self_issued]
    if len(anchors) < 2:
        return  # one root in a file of its own is a part of a store at most
    ends = [(each.not_after, each) for each in anchors if each.not_after is not None]
    over = [each for end, each in ends if end < world.now]
    coming = [end for end, _ in ends if end >= world.now]
    if coming:
        yield Until(instant=min(coming) + timedelta(seconds=1))
    said = [f"{len(over)} expired"] if over else []
    text = [f"Expired: {_named(over)}."] if over else []
    for sibling in _siblings(anchors, world):
        absent = [each for each in _roots(sibling) if _lasts(each, world) and not _has(anchors, each)]
        if absent:
            said.append(f"without {len(absent)} of {sibling.name}")
            text.append(f"The store {sibling.name} has, and this one has not: {_named(absent)}.")
        # Somebody's own beside the public ones are theirs to add; what its maker took out is what a copy is judged by.
        beyond = [
            each
            for each in anchors
            if sibling.public
            and _lasts(each, world)
            and not any(each in store for store in world.trust.values())
        ]
        if beyond:
            said.append(f"{len(beyond)} that {sibling.name} does not have")
            text.append(
                f"Here, and not in {sibling.name}, whose maker may have taken them out: {_named(beyond)}."
            )
    if said:
        yield Problem(
            severity="info",
            fingerprint=None,
            summary=f"Trust store of {len(anchors)} roots is stale ({', '.join(said)}): {served.location.uri}",
            text=" ".join(text)
            + " Take a new one from its maker (ca-certificates, certifi), or make it anew.",
        )


def _siblings(anchors: Sequence[Certificate], world: World) -> list[TrustStore]:
    """The configured stores that this is a copy of, by the roots that they have in common; of public ones the likest."""
    found: list[tuple[float, TrustStore]] = []
    for store in world.trust.values():
        roots = _roots(store)
        common = sum(each in store for each in anchors)
        if common >= (2 if store.public else 1) and common >= len(roots) * COPY:
            found.append((common / len(roots), store))
    public = max((each for each in found if each[1].public), key=lambda each: each[0], default=None)
    return [store for part, store in found if not store.public or (part, store) == public]


def _roots(store: TrustStore) -> list[Certificate]:
    return [each for same in store.anchors.values() for each in same]


def _has(anchors: Sequence[Certificate], root: Certificate) -> bool:
    return any(
        (each.subject_der, each.spki_sha256) == (root.subject_der, root.spki_sha256) for each in anchors
    )


def _lasts(root: Certificate, world: World) -> bool:
    return root.not_after is None or root.not_after >= world.now


def _named(roots: Sequence[Certificate]) -> str:
    names = ", ".join(each.shown for each in roots[:SHOWN])
    return f"{names} and {len(roots) - SHOWN} more" if len(roots) > SHOWN else names


RULE = Rule(
    id="trust-store-stale",
    title="Trust store is stale",
    why="Expired roots do no harm by themselves; they show that nobody keeps the store. What is missing from it breaks "
    "connections, at the latest when a server turns to the newer root, and what should have left it is a danger. A store that has "
    "half of a configured one's roots (`trust` in the config) is taken for a copy of it, and held against it.",
    fix="Update the package or the image that it comes from, or make it anew.",
    severity="info",
    source="RFC 5280, 6.1.1 (d)",
    evaluate=_anchors,
    kinds=frozenset(["file", "k8s"]),
)
