"""What the Web PKI's rules say of a certificate that public trust stores accept."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import purpose_of
from rules.policy_clock import SERVER_AUTH_ONLY_SINCE, validity_limit

#: Public keys with a meaning of their own; the star stands for everybody's names below them.
_TWO_LEVEL_SUFFIXES = frozenset(
    "ac co com edu gov gob ltd mil net nom or org ne go".split()  # of countries that sell names below these
)


def public_leaf(served: Served, world: World) -> Certificate | None:
    """None: nothing is served, or no public store accepts it."""
    if not served.chain or served.facts.get("arrangement", "chain") != "chain":
        return None
    anchored = assess(served.chain, world.trust, world.now, purpose_of(served)).anchored
    return served.chain[0] if any(world.trust[name].public for name in anchored) else None


def _too_long(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = public_leaf(served, world)
    if leaf is None or leaf.is_ca or leaf.not_before is None or leaf.lifetime is None:
        return
    limit = validity_limit(leaf.not_before)
    # Both ends are inside the validity (RFC 5280, 4.1.2.5).
    if limit is None or leaf.lifetime + timedelta(seconds=1) <= limit.longest:
        return
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} is valid for longer than {limit.longest.days} days",
        text=f"Since {limit.since:%Y-%m-%d} public certificates may be valid for at most {limit.longest.days} days "
        f"({limit.source}). Browsers refuse it. Its CA has misissued it: have it reissued, and ask what else is wrong.",
    )


def _client_auth(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = public_leaf(served, world)
    if leaf is None or leaf.is_ca or leaf.not_before is None:
        return
    if "clientAuth" not in (leaf.extended_key_usage or ()):
        return
    forbidden = leaf.not_before >= SERVER_AUTH_ONLY_SINCE
    yield Problem(
        severity="ticket" if forbidden else "info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} is a public certificate for clients too",
        text=f"Public certificates that begin on {SERVER_AUTH_ONLY_SINCE:%Y-%m-%d} or later are for servers only; many CAs "
        "leave clientAuth out already. If it is used to authenticate to others (mutual TLS, mail between servers), its "
        "renewal will break that: have such certificates issued by a CA of your own.",
    )


def _wildcard(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None or leaf.is_ca or served.facts.get("arrangement", "chain") != "chain":
        return
    for name in leaf.names:
        kind, _, value = name.partition(":")
        if kind != "dns" or not value.startswith("*."):
            continue
        labels = value[2:].rstrip(".").split(".")
        if len(labels) < 2 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _TWO_LEVEL_SUFFIXES):
            yield Problem(
                severity="ticket",
                fingerprint=leaf.fingerprint_sha256,
                summary=f"{leaf.shown} stands for every name below {value[2:]}",
                text=f"{value} covers names of others, and no public CA may issue it. Clients refuse or should. "
                "Reissue it for the names that are meant.",
            )
            return


TOO_LONG = Rule(
    id="lifetime-too-long",
    title="Public certificate is valid for too long",
    why="Browsers refuse public certificates that are valid for longer than was allowed on the day they begin: 398 days "
    "from September 2020, 200 from 2026-03-15, 100 from 2027-03-15, 47 from 2029-03-15. Certificates of your own CAs are not "
    "concerned.",
    fix="Have it reissued by its CA.",
    severity="ticket",
    source="CA/Browser Forum Baseline Requirements, 6.3.2",
    evaluate=_too_long,
)
CLIENT_AUTH = Rule(
    id="public-client-auth",
    title="Public certificate is for clients too",
    why="Root programs withdraw the usage clientAuth from public certificates. What authenticates with one today will "
    "stop doing so at a renewal.",
    fix="Find who uses it as a client, and give that its own certificate from a CA of yours.",
    severity="ticket",
    source="Chrome Root Program Policy 1.8, 1.3.2",
    evaluate=_client_auth,
)
WILDCARD = Rule(
    id="wildcard-broad",
    title="Wildcard stands for other people's names",
    why="A star directly below a top-level domain, or below one where names are sold, covers what is not yours.",
    fix="Reissue it for the names that are meant.",
    severity="ticket",
    source="CA/Browser Forum Baseline Requirements, 3.2.2.6",
    evaluate=_wildcard,
)
