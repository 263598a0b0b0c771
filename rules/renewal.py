"""What ACME clients are told to renew, and whether they do."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.instants import read_instant
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import GRACE_PART, end_of

KINDS = frozenset(["acme"])


class OverdueConfig(RuleConfig):
    #: How long after the instant that the client has chosen it may not have renewed; at most a twelfth of the lifetime.
    grace: Duration = timedelta(days=2)


def _off(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None or served.facts.get("renewal_off") is not True:
        return
    end = end_of(leaf)
    if end is not None and world.now >= end:
        return
    if end is not None:
        yield Until(instant=end)
    client = served.facts.get("renewal_client") or "its ACME client"
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} will not be renewed: {client} is told not to",
        text=f"{client} has it at {served.location.uri} and does not renew it"
        + (f"; it ends at {leaf.not_after:%Y-%m-%dT%H:%MZ}" if leaf.not_after else "")
        + ". Let it be renewed again, or delete it there if nobody needs it.",
    )


def _overdue(served: Served, config: OverdueConfig, world: World) -> Iterator[Problem | Until]:
    leaf, due = served.leaf, read_instant(served.facts.get("renewal_due_at"))
    if leaf is None or due is None or served.facts.get("renewal_off") is True:
        return
    late = due + min(config.grace, (leaf.lifetime or timedelta(0)) / GRACE_PART)
    if world.now < late:
        yield Until(instant=late)
        return
    client = served.facts.get("renewal_client") or "its ACME client"
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} should have been renewed by {client}",
        text=f"{client} meant to renew it at {due:%Y-%m-%dT%H:%MZ}, and the certificate is the one from before. Look into its "
        "log, see that its timer runs, and run it by hand once.",
    )


OFF = Rule(
    id="renewal-off",
    title="ACME client is told not to renew a certificate",
    why="A certificate that an ACME client got and does not renew ends by itself, while everybody believes that it is looked "
    "after: `autorenew = False` in certbot's renewal file, a certificate without one, `acme.sh --remove`.",
    fix="certbot: `certbot reconfigure --cert-name NAME`, or take `autorenew` out of its file; acme.sh: issue it again. What "
    "nobody needs is deleted there (`certbot delete`).",
    severity="ticket",
    source="certwatch",
    evaluate=_off,
    kinds=KINDS,
)
OVERDUE = Rule(
    id="renewal-overdue",
    title="ACME client has missed its own renewal",
    why="acme.sh and Caddy write down when they mean to renew. When that instant is past and the certificate is still the old "
    "one, renewing fails or its timer does not run: it shows weeks before the end does.",
    fix="Look into the client's log; see its timer or cron job; renew by hand once (`acme.sh --cron --force`).",
    severity="ticket",
    source="RFC 9773",
    evaluate=_overdue,
    Config=OverdueConfig,
    kinds=KINDS,
)
