"""Who may issue for a name, by DNS, and who has."""

from collections.abc import Iterator

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.revocation import about_of, text_of


def _mismatch(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    facts = served.facts
    tag = "caa_issuewild" if facts.get("caa_wildcard") is True and "caa_issuewild" in facts else "caa_issue"
    if tag not in facts or served.failing_since is not None:
        return  # nobody is forbidden (RFC 8659, 4.2)
    allowed = {each for each in text_of(served, tag).split(",") if each}
    identities = set(text_of(served, "caa_identities").split(","))
    if allowed & identities:
        return
    name, at = text_of(served, "caa_name"), text_of(served, "caa_at")
    who = ", ".join(sorted(allowed)) or "nobody"
    yield Problem(
        severity="ticket",
        fingerprint=about_of(served),
        summary=f"{name}: issued by {text_of(served, 'caa_issuer')}, which its CAA records do not allow",
        text=f"{at} allows {who} ({tag.removeprefix('caa_')}); this CA answers to {', '.join(sorted(identities))}. It is seen at "
        f"{text_of(served, 'certificate_location')}. If the CA is yours, its next renewal will be refused: add it to the "
        "records. If it is not, somebody else has got a certificate for your name before the records were set, or a CA has "
        "broken them: have it revoked.",
    )


RULE = Rule(
    id="caa-mismatch",
    title="CAA records do not allow the CA that issued",
    why="A CA must look at the CAA records of every name before it issues, and a mismatch ends the request. A certificate in use "
    "that they would not allow today was issued by mistake or fraud; or the records were changed without thinking of the "
    "renewal, which will fail. Looked up by the collector `caa`, for CAs whose names in CAA records are known.",
    fix="`dig CAA NAME` and, if empty, of the names above it. Add the CA, or move to one that is allowed. Renew once by hand to be "
    "sure.",
    severity="ticket",
    source="RFC 8659, 3 and 4.2; CA/Browser Forum Baseline Requirements, 4.2.2.1",
    evaluate=_mismatch,
    kinds=frozenset(["caa"]),
)
