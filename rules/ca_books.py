"""What is in use, held against the books of the CAs: what stands in none of them."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.baseline import public_leaf

#: The books change without waking what is in use.
RECHECK = timedelta(hours=6)


class UnrecordedConfig(RuleConfig):
    #: How long after its beginning a certificate may not have come to the books yet.
    grace: Duration = timedelta(days=1)


class ForeignConfig(RuleConfig):
    #: Off by default: not every CA has books that certwatch reads.
    enabled: bool = False


def _unrecorded(served: Served, config: UnrecordedConfig, world: World) -> Iterator[Problem | Until]:
    leaf, books = served.leaf, world.books
    if leaf is None or books is None or books.recorded or not books.databases:
        return
    if leaf.not_after is not None and leaf.not_after < world.now:
        return  # what has ended leaves the books
    yield Until(instant=world.now + RECHECK)
    if leaf.not_before is None or books.read_at is None or leaf.not_before + config.grace > books.read_at:
        return
    yield Problem(
        severity="page" if served.location.standing == "served" else "ticket",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} names a CA of ours as its issuer, and is not in its books",
        text=f"Issuer {leaf.issuer}, serial number {leaf.serial_hex}. {', '.join(books.databases)} has certificates of that "
        f"issuer, and was last read in full at {books.read_at:%Y-%m-%dT%H:%MZ}: this one is not among them. It was signed past "
        "the database (by somebody with the key, or by another instance of the CA), removed from it, or only bears the CA's "
        "name. See whether its signature is by the CA's key; if so, take the key for stolen until it is explained.",
    )


def _foreign(served: Served, config: ForeignConfig, world: World) -> Iterator[Problem | Until]:
    leaf, books = served.leaf, world.books
    if not config.enabled or leaf is None or books is None or books.databases or leaf.is_self_issued:
        return
    if leaf.not_after is not None and leaf.not_after < world.now:
        return
    if public_leaf(served, world) is not None:
        return
    yield Until(instant=world.now + RECHECK)
    yield Problem(
        severity="info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} is of a CA that no database is read of: {leaf.issuer}",
        text="No public trust store knows its issuer, and no CA database has issued for it: a CA that was forgotten, or one that "
        "nobody was told of. Find who runs it; read its database, or move what it issued to a CA that is looked after.",
    )


UNRECORDED = Rule(
    id="ca-unrecorded",
    title="Certificate of a CA of ours is not in its books",
    why="What a CA has issued stands in its database. A certificate that bears its name and does not was made past it: by "
    "whoever has the key, by a second instance that counts for itself, or by somebody who only uses the name. None of them can be "
    "revoked by the CA. Books that do not keep certificates are asked by serial number.",
    fix="Verify the signature with the CA's certificate. If it holds: find what signed it (the HSM's log, copies of the key), and "
    "take the key for compromised until then. Replace the certificate.",
    severity="page",
    source="RFC 5280, 4.1.2.2; Baseline Requirements, 5.4.1",
    evaluate=_unrecorded,
    Config=UnrecordedConfig,
)
FOREIGN = Rule(
    id="ca-unknown",
    title="Certificate is of a CA that nobody keeps books of",
    why="A private CA that is set up once and forgotten goes on being trusted, without anybody who renews, revokes or looks after its "
    "key. Switched on by `enabled`, where the databases of all CAs of one's own are read.",
    fix="Find its operator. Read its database, or replace what it has issued and take it out of trust stores.",
    severity="info",
    source="NIST SP 1800-16B, 4",
    evaluate=_foreign,
    Config=ForeignConfig,
)
