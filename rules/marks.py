"""What people have said of keys and certificates, held against where these are in use."""

from collections.abc import Iterator

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.mark import Mark
from certwatch.model.sighting import Served
from certwatch.pki.signatures import signature
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import concerned


def _said(mark: Mark) -> str:
    return f"Marked by {mark.author} at {mark.created_at:%Y-%m-%dT%H:%MZ}: {mark.reason} (mark {mark.id})."


def _compromised(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if not world.marks:
        return
    for _, certificate in concerned(served, world):
        own = world.marks.compromised(certificate)
        if own is not None:
            yield Problem(
                severity="page",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown}: its key is compromised, and still in use",
                text=f"{_said(own)} Whoever has the key can speak for it. Make a new key, have a new certificate issued, bring "
                "it to every place that is named here, and have this one revoked with the reason keyCompromise.",
            )
            continue
        above = _issued_by(certificate, world)
        if above is not None:
            yield Problem(
                severity="page",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown} was issued by {above.certificate.shown}, whose key is compromised",
                text=f"{_said(above)} Nobody can tell any more what that CA has issued and what somebody else has. Have it "
                "reissued by another CA, and take the CA out of every trust store.",
            )


def _issued_by(certificate: Certificate, world: World) -> Mark | None:
    return next(
        (
            each
            for each in world.marks.issuers_of(certificate)
            if signature(certificate, each.certificate) == "good"
        ),
        None,
    )


def _retired(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if not world.marks or served.location.standing != "served":
        return
    for certificate in served.chain[:1]:
        mark = world.marks.retired(certificate)
        if mark is not None:
            yield Problem(
                severity="ticket",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown} is retired, and served again or still",
                text=f"{_said(mark)} Serve its successor here, and take the old one out of what is rolled out; if it is to "
                f"stay after all: certwatch mark end {mark.id}.",
            )


COMPROMISED = Rule(
    id="compromised",
    title="Key is marked as compromised, and in use",
    why="Somebody has said with `certwatch mark compromised` that a key is in other hands. Every certificate of that key, and "
    "everything that a CA of that key has issued, is a page until the place serves another one. The time from opening to "
    "resolving is the time to recover (M10).",
    fix="Replace the certificate at every place that the alert names: `certwatch findings --rule compromised`. New key, new "
    "certificate, reload, revocation with keyCompromise. A mark that was a mistake: `certwatch mark end NUMBER`.",
    severity="page",
    source="CA/Browser Forum Baseline Requirements, 4.9.1.1; NIST SP 1800-16",
    evaluate=_compromised,
)
RETIRED = Rule(
    id="retired-in-use",
    title="Retired certificate is served",
    why="Somebody has said with `certwatch mark retired` that a certificate is to be served nowhere any more. That stays: an "
    "endpoint that comes back with it, from an old image or backup, is told of, whenever it does. Where it only lies, its "
    "end is nobody's matter any more.",
    fix="Serve its successor, and find out what brought the old one back.",
    severity="ticket",
    source="certwatch",
    evaluate=_retired,
)
