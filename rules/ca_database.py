"""What only a CA's own books can tell."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Problem
from certwatch.model.instants import read_instant
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: Kinds of location: a certificate in a CA's database, and the database.
RECORD, DATABASE = frozenset(["cadb"]), frozenset(["ca-database"])
#: A place that begins to serve a certificate wakes nobody in the books.
RECHECK = timedelta(hours=1)
SHOWN = 3


class UnseenConfig(RuleConfig):
    #: Off by default: a CA issues for many places that certwatch does not look at.
    enabled: bool = False
    #: How long after its issuance a certificate may be nowhere.
    grace: Duration = timedelta(days=7)


class UnpublishedConfig(RuleConfig):
    #: How long after a revocation OCSP may not have heard of it.
    ocsp: Duration = timedelta(minutes=5)
    #: How long the CRL may lack it.
    crl: Duration = timedelta(hours=24)


class PendingConfig(RuleConfig):
    #: How long a request may wait for somebody's decision.
    longest: Duration = timedelta(days=1)


def _revoked(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None or served.facts.get("ca_status") != "revoked":
        return
    if leaf.not_after is not None and leaf.not_after < world.now:
        return
    yield Until(instant=world.now + RECHECK)
    at = [each for each in world.sharers if each.certificate.fingerprint_sha256 == leaf.fingerprint_sha256]
    if not at:
        return
    since, reason = served.facts.get("revoked_at"), served.facts.get("revocation_reason")
    more = f" and {len(at) - SHOWN} more" if len(at) > SHOWN else ""
    yield Problem(
        severity="page",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} was revoked by its CA, and is still in use",
        text="The CA's database says so"
        + (f", since {since}" if since else "")
        + (f", for the reason {reason}" if reason else "")
        + f". It is in use at {', '.join(each.location.uri for each in at[:SHOWN])}{more}. Clients refuse it as soon as they hear "
        "of it by OCSP or the CRL. Put another one in its place, with another key if that was compromised.",
    )


def _collision(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    other = served.facts.get("ca_collision")
    if not other:
        return
    leaf = served.leaf
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256 if leaf is not None else None,
        summary=f"Serial number given twice: {served.location.uri.partition('#')[0]}",
        text=f"Another certificate of the same CA has it (SHA-256 {other}…). Revoking one revokes both, and OCSP answers for "
        "one of them only. Two copies of a CA that count by themselves do this: let one issue, by random serial numbers "
        "of 64 bits and more, and reissue one of the two.",
    )


def _unseen(served: Served, config: UnseenConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if not config.enabled or leaf is None or leaf.is_ca or leaf.not_before is None or world.sharers:
        return
    if served.facts.get("ca_status") != "issued" or (
        leaf.not_after is not None and leaf.not_after < world.now
    ):
        return
    due = leaf.not_before + config.grace
    if world.now < due:
        yield Until(instant=due)
        return
    yield Until(instant=world.now + 24 * RECHECK)
    who = served.facts.get("ca_requester")
    yield Problem(
        severity="info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} was issued, and is seen nowhere",
        text="It is in the CA's books and at no place that certwatch looks at"
        + (f"; {who} asked for it" if who else "")
        + ". Look there too, or have it revoked if nobody needs it.",
    )


def _unpublished(served: Served, config: UnpublishedConfig, world: World) -> Iterator[Problem | Until]:
    if served.facts.get("certificate_ca_status") != "revoked" or served.error is not None:
        return
    said = served.facts.get("revocation_status")
    since = read_instant(served.facts.get("certificate_ca_revoked_at"))
    if said not in ("good", "unknown") or since is None:
        return
    by_ocsp = served.location.kind == "ocsp"
    due = since + (config.ocsp if by_ocsp else config.crl)
    if world.now < due:
        yield Until(instant=due)
        return
    source = served.location.uri.partition("?")[0].partition("#")[0]
    try:
        fingerprint = Fingerprint(bytes.fromhex(str(served.facts.get("certificate") or ""))) or None
    except ValueError:
        fingerprint = None
    yield Problem(
        severity="ticket",
        fingerprint=fingerprint,
        summary=f"{served.facts.get('certificate_name')} is revoked in its CA's books, and not by {'OCSP' if by_ocsp else 'its CRL'}",
        text=f"The CA revoked it at {since:%Y-%m-%dT%H:%MZ}; {source} "
        + ("answers that it is good" if by_ocsp and said == "good" else "does not say so")
        + f" at {served.last_seen:%Y-%m-%dT%H:%MZ}. Until it does, clients take the certificate. See that the CA publishes (its "
        "job for CRLs, its responder's replica), and that no cache holds the old answer.",
    )


def _pending(served: Served, config: PendingConfig, world: World) -> Iterator[Problem | Until]:
    since = read_instant(served.facts.get("ca_pending_since"))
    if since is None:
        return
    due = since + config.longest
    if world.now < due:
        yield Until(instant=due)
        return
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"Requests wait at {served.location.uri}",
        text=f"{served.facts.get('ca_pending')} wait for somebody's decision, the oldest since {since:%Y-%m-%dT%H:%MZ}. Approve or "
        "refuse them: whoever waits for a certificate will find another way.",
    )


def _went_back(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    at = read_instant(served.facts.get("ca_went_back_at"))
    if at is None:
        return
    end = at + timedelta(days=7)
    if world.now >= end:
        return
    yield Until(instant=end)
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"CA database stands where it stood before: {served.location.uri}",
        text=f"Found at {at:%Y-%m-%dT%H:%MZ}: what had been read is there no more. It was restored from a backup, or rows were "
        "removed. All of it was read anew. What was issued and revoked since that backup is unknown to the CA: issue no "
        "serial number twice, and revoke again what had been revoked.",
    )


REVOKED = Rule(
    id="ca-revoked-in-use",
    title="Certificate was revoked by its CA, and is in use",
    why="The CA has it in its books as revoked, and it is still seen where it is in use: whether or not OCSP and CRLs say so "
    "yet.",
    fix="Replace it at every place: `certwatch list FINGERPRINT`. See that OCSP and CRL say the same as the database.",
    severity="page",
    source="RFC 5280, 5; Baseline Requirements, 4.9",
    evaluate=_revoked,
    kinds=RECORD,
)
COLLISION = Rule(
    id="ca-serial-collision",
    title="CA has given a serial number twice",
    why="A serial number names one certificate of its CA. Revocation, OCSP and CRLs know certificates by nothing else.",
    fix="Find out what issues beside the CA; then reissue one of the two.",
    severity="ticket",
    source="RFC 5280, 4.1.2.2",
    evaluate=_collision,
    kinds=RECORD,
)
UNSEEN = Rule(
    id="ca-issued-unseen",
    title="Certificate was issued, and is seen nowhere",
    why="It is used where nobody looks, or not at all. Switched on by `enabled`, where certwatch looks at all that a CA issues "
    "for.",
    fix="Ask who requested it; watch where it is, or revoke it.",
    severity="info",
    source="NIST SP 1800-16B, 4",
    evaluate=_unseen,
    Config=UnseenConfig,
    kinds=RECORD,
)
UNPUBLISHED = Rule(
    id="ca-revocation-unpublished",
    title="Certificate is revoked in its CA's books, and clients do not hear of it",
    why="A revocation is worth what clients learn of it. The `revocation` collector asks the OCSP responders and fetches the CRLs "
    "of what a CA has in its books as revoked, in use or not, until they say so.",
    fix="Have the CRL made and published anew; see the responder's database. How long it took is in "
    "`certwatch_revocation_propagation_seconds`.",
    severity="ticket",
    source="RFC 5280, 5; Baseline Requirements, 4.9.7 and 4.9.10",
    evaluate=_unpublished,
    Config=UnpublishedConfig,
    kinds=frozenset(["ocsp", "http", "https"]),
)
PENDING = Rule(
    id="ca-requests-pending",
    title="Requests to the CA wait",
    why="Somebody asked for a certificate and nobody has decided.",
    fix="Decide, in the CA's own queue.",
    severity="ticket",
    source="certwatch",
    evaluate=_pending,
    Config=PendingConfig,
    kinds=DATABASE,
)
WENT_BACK = Rule(
    id="ca-database-restored",
    title="CA database was set back",
    why="A CA that has forgotten what it issued cannot revoke it, and may issue its serial numbers again.",
    fix="Bring back what is missing from the last days' logs; until then, issue nothing by counted serial numbers.",
    severity="ticket",
    source="certwatch",
    evaluate=_went_back,
    kinds=DATABASE,
)
