"""CAs that nobody has chosen."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from certwatch.model.finding import Problem, Severity
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import purpose_of


class IssuerConfig(RuleConfig):
    #: Names of CAs that may issue, as patterns over the whole name: "*O=Let's Encrypt*", "CN=Corp Issuing CA*". Empty: all.
    expected: tuple[str, ...] = ()
    severity: Severity = "ticket"


def _unexpected(served: Served, config: IssuerConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if not config.expected or leaf is None or leaf.is_ca or served.facts.get("arrangement") == "bundle":
        return
    # One that is its own issuer is `self-signed`.
    if leaf.is_self_issued:
        return
    path = assess(served.chain, world.trust, world.now, purpose_of(served)).path
    above = [leaf.issuer, *(each.issuer for each in path[1:])]
    if any(fnmatchcase(name, pattern) for name in above for pattern in config.expected):
        return
    yield Problem(
        severity=config.severity,
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} was issued by {leaf.issuer or 'an unreadable issuer'}, which is not among the CAs that may",
        text=f"Expected are: {', '.join(config.expected)}. Either a team went to another CA, or somebody has got a certificate for "
        "your name (misissued): ask the owner, look for it in CT logs, and have it revoked if nobody asked for it. CAA records "
        "keep others from issuing.",
    )


RULE = Rule(
    id="issuer-unexpected",
    title="Issued by a CA that nobody has chosen",
    why="An organisation knows which CAs issue for it. Another one means a certificate that nobody keeps, or one that somebody got "
    "by fraud. Says nothing until `expected` names the CAs: one pattern that fits the issuer, or a CA above it, is enough.",
    fix="If it is meant, add the CA to `expected`; else find who asked for it, and have it revoked. Which CAs there are: "
    "`certwatch list --sort issuer`.",
    severity="ticket",
    source="CA/Browser Forum Baseline Requirements, 4.2.2; RFC 8659",
    evaluate=_unexpected,
    Config=IssuerConfig,
)
