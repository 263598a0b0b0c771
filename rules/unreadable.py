"""Certificates of which something cannot be read."""

from collections.abc import Iterator

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World


def _unreadable(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    said: set[bytes] = set()
    for certificate in served.chain:
        if not certificate.problems or certificate.fingerprint_sha256 in said:
            continue
        said.add(certificate.fingerprint_sha256)
        more = f" (and {len(certificate.problems) - 1} more)" if len(certificate.problems) > 1 else ""
        yield Problem(
            severity="info" if served.facts.get("arrangement") == "bundle" else "ticket",
            fingerprint=certificate.fingerprint_sha256,
            summary=f"{certificate.shown} cannot be read whole: {certificate.problems[0]}{more}",
            text="Strict clients refuse a certificate that breaks the format, each in its own way. What could be read "
            f"is in the inventory. All of it: {'; '.join(certificate.problems[:10])}. Reissue it.",
        )


RULE = Rule(
    id="unreadable",
    title="Certificate breaks the format",
    why="Parts of it cannot be read as RFC 5280 has them. It is kept with what could be read, so that it is not "
    "forgotten; clients may refuse it, and other rules cannot judge what is not readable.",
    fix="Reissue it. See it: `certwatch show FINGERPRINT`, `openssl asn1parse -inform DER -in FILE`.",
    severity="ticket",
    source="RFC 5280, 4.1",
    evaluate=_unreadable,
)
