"""CAs that end before what they issue does."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import purpose_of


class HorizonConfig(RuleConfig):
    #: How long before a CA has less life left than what it issues there is a ticket.
    ahead: Duration = timedelta(days=30)


def _horizon(served: Served, config: HorizonConfig, world: World) -> Iterator[Problem | Until]:
    if not served.chain or served.facts.get("arrangement", "chain") != "chain":
        return
    found = assess(served.chain, world.trust, world.now, purpose_of(served))
    leaf = found.path[0]
    lifetime = leaf.lifetime
    if leaf.is_ca or lifetime is None or leaf.not_after is None:
        return
    for issuer in found.needed[1:]:
        if issuer.not_after is None or issuer.is_self_issued:
            continue
        if issuer.not_after < leaf.not_after:
            yield Problem(
                severity="ticket",
                fingerprint=leaf.fingerprint_sha256,
                summary=f"{leaf.shown} outlives its issuer {issuer.shown}",
                text=f"The issuer ends at {issuer.not_after:%Y-%m-%dT%H:%MZ}: from then on the leaf is refused, whatever "
                "it says itself. Renew the CA, or have another one issue it.",
            )
            return
        due = issuer.not_after - lifetime - config.ahead
        if world.now < due:
            yield Until(instant=due)
        else:
            yield Problem(
                severity="ticket",
                fingerprint=issuer.fingerprint_sha256,
                summary=f"{issuer.shown} cannot issue certificates of {lifetime.days} days for much longer",
                text=f"It ends at {issuer.not_after:%Y-%m-%dT%H:%MZ}, and {leaf.shown} lives for {lifetime.days} days: from "
                "then on what it issues is cut short or refused, long before it ends itself. Bring its successor into "
                "use now.",
            )
            return


RULE = Rule(
    id="ca-horizon",
    title="CA has less life left than what it issues",
    why="A CA stops being of use when its remaining life is shorter than the certificates that it issues, long before it "
    "ends: they are cut short, or refused because their issuer has ended first.",
    fix="Make the successor, publish it to clients, and move issuance to it.",
    severity="ticket",
    source="RFC 5280, 6.1.3 (a) (2)",
    evaluate=_horizon,
    Config=HorizonConfig,
)
