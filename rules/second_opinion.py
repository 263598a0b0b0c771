"""Accepted by OpenSSL, and refused by a stricter reader."""

from collections.abc import Iterator
from typing import cast

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess
from certwatch.pki.trust import TrustStore
from certwatch.pki.verdict import Question, judge
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import purpose_of

SHOWN = 3


class OpinionConfig(RuleConfig):
    #: Off by default: it takes as long as all other rules together, and private CAs rarely pass.
    enabled: bool = False


def _second(served: Served, config: OpinionConfig, world: World) -> Iterator[Problem | Until]:
    if not config.enabled or not served.chain:
        return
    found = assess(served.chain, world.trust, world.now, purpose_of(served))
    if not found.anchored or found.fault is not None:
        return  # refused, or untrusted: told already
    store = cast("TrustStore", world.trust[next(iter(found.anchored))])
    leaf = served.chain[0]
    verdict = judge(leaf, served.chain[1:], store, world.now, Question(purpose="server", profile=True))
    if verdict.fault is not None or not verdict.objections:
        return
    more = len(verdict.objections) - SHOWN
    yield Problem(
        severity="info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown}: OpenSSL accepts its chain, and a stricter reader does not",
        text=". ".join(verdict.objections[:SHOWN])
        + (f". And {more} more. " if more > 0 else ". ")
        + "Looked at by the rules of RFC 5280 in every letter, OpenSSL's strict mode and the Web PKI's profile (rustls, Go and "
        "browsers are near it). Clients may become stricter with any release: have the CA's profile mended.",
    )


RULE = Rule(
    id="second-opinion",
    title="Stricter clients refuse the chain",
    why="Validators disagree: what OpenSSL takes may be refused by Go, rustls or a browser, for a missing key identifier, a root "
    "without key usage, an old form of a name. Off by default; switch it on (`second-opinion: {enabled: true}`) before a "
    "change of clients, or for what browsers must take.",
    fix="Mend the profile of the CA, and reissue. What each one says: the finding's text.",
    severity="info",
    source="RFC 5280, 4 and 6; CA/Browser Forum Baseline Requirements, 7.1",
    evaluate=_second,
    Config=OpinionConfig,
    kinds=frozenset(["tls"]),
)
