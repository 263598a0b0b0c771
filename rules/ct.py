"""What Certificate Transparency logs show: certificates that nobody here knows of, and logs that misbehave."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.instants import read_instant
from certwatch.model.location import LOGGED_KINDS
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: Kinds of location: a certificate in a log, a log, and what was found of timestamps.
ENTRY, LOG, TIMESTAMPS = LOGGED_KINDS, frozenset(["ct-log"]), frozenset(["sct"])
#: A place that turns to another key wakes nobody.
RECHECK = timedelta(hours=6)
SHOWN = 5


class UnexpectedConfig(RuleConfig):
    #: How long after it was logged a certificate may be known from nowhere else: issued is not yet deployed.
    grace: Duration = timedelta(hours=1)
    #: Issuers whose certificates are expected: a part of the issuer's name, or "sha256:" and the SHA-256 of its public key.
    #: With any, a certificate of another one is unexpected at once.
    issuers: tuple[str, ...] = ()
    #: Accounts at ACME CAs (their URLs) that are ours: a certificate is expected if CAA records bind its CA to one of them for each
    #: of its names (RFC 8657). Needs `caa` of the collector.
    accounts: tuple[str, ...] = ()


class BehindConfig(RuleConfig):
    #: How old the newest entry may be up to which a log is read.
    longest: Duration = timedelta(hours=6)


class UnreadConfig(RuleConfig):
    #: How long a log may not answer.
    longest: Duration = timedelta(days=1)


class UndeployedConfig(RuleConfig):
    #: How long after it was logged a certificate may be served nowhere.
    grace: Duration = timedelta(days=7)


def _unexpected(served: Served, config: UnexpectedConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if (
        leaf is None
        or (leaf.not_after is not None and leaf.not_after < world.now)
        or _told_elsewhere(served, world)
    ):
        return
    if leaf.not_after is not None:
        yield Until(instant=leaf.not_after + timedelta(seconds=1))
    known = _is_known(leaf, world)
    forbidden = served.facts.get("ct_caa") == "forbidden"
    if known or _is_of_our_account(served, config.accounts):
        return
    if config.issuers and not forbidden and _is_allowed(served, config.issuers):
        return
    if _by_key_alone(served):
        # Watched for its key: that somebody has it is the news.
        same_key = ""
    elif world.sharers and not config.issuers:
        # Whoever asked for it has the key of a certificate that we use: it is a renewal.
        yield Until(instant=world.now + RECHECK)
        return
    else:
        same_key = _same_key(world)
    due = _logged_at(served) + config.grace
    if not config.issuers and not forbidden and world.now < due:
        yield Until(instant=due)
        return
    yield Problem(
        severity="page",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"Unexpected certificate for {_names(leaf)} from {leaf.issuer[:100] or 'an unreadable issuer'}",
        text=f"{_where(served, world)} It is for {served.facts.get('ct_matches')}; serial number {leaf.serial_hex or 'unreadable'}, valid "
        f"from {_day(leaf.not_before)} to {_day(leaf.not_after)}, issuer's key sha256:{served.facts.get('ct_issuer_key', 'not known')}. No "
        f"other place that certwatch looks at has it, and nobody has authorised it.{same_key}{_by_caa(served)} Ask whoever may have requested it. "
        "If it is yours: certwatch ct authorize. If it is not: have it revoked by its CA, and see that OCSP and the CRL say "
        f"so. {_proof(served)}",
    )


def _is_known(leaf: Certificate, world: World) -> bool:
    return (
        any(each.location.kind not in ENTRY for each in world.twins)
        or world.marks.authorised(leaf) is not None
    )


def _told_elsewhere(served: Served, world: World) -> bool:
    """Precertificate, certificate, and each of them in several logs: one finding, at the place that was known first."""
    return any(
        each.location.kind in ENTRY and each.is_live and each.location_id < served.id for each in world.twins
    )


def _is_allowed(served: Served, issuers: tuple[str, ...]) -> bool:
    leaf = served.leaf
    name = leaf.issuer.casefold() if leaf is not None else ""
    key = f"sha256:{served.facts.get('ct_issuer_key')}"
    return any(
        each.casefold() == key if each.casefold().startswith("sha256:") else each.casefold() in name
        for each in issuers
    )


def _is_of_our_account(served: Served, accounts: tuple[str, ...]) -> bool:
    bound = set(str(served.facts.get("ct_caa_accounts") or "").split())
    return served.facts.get("ct_caa") == "bound" and bool(bound) and bound <= set(accounts)


def _by_caa(served: Served) -> str:
    standing = served.facts.get("ct_caa")
    if standing == "forbidden":
        return f" When it was found, {served.facts.get('ct_caa_text')}: either they were changed since it was issued, or the CA has broken them."
    if standing == "bound":
        return f" CAA records bind its CA to {served.facts.get('ct_caa_accounts')}: whoever ordered it has that account."
    return " CAA records restrict nobody for one of its names." if standing == "open" else ""


def _proof(served: Served) -> str:
    if served.location.kind == "ct":
        return f"Proof, to be verified offline: certwatch ct evidence {served.location.uri}"
    return f"{served.facts.get('ct_log')} says so, and proves nothing: look the certificate up in a log."


def _by_key_alone(served: Served) -> bool:
    matches = str(served.facts.get("ct_matches") or "")
    return bool(matches) and all("(key" in each for each in matches.split(", "))


def _same_key(world: World) -> str:
    if not world.sharers:
        return ""
    return f" It has the key of what is seen at {world.sharers[0].location.uri}."


def _where(served: Served, world: World) -> str:
    facts = served.facts
    if served.location.kind != "ct":
        since = facts.get("ct_logged_at", "an unreadable instant")
        return f"{facts.get('ct_log')} has it as {facts.get('ct_index')}, a {facts.get('ct_entry')}, logged at {since}."
    others = [each for each in world.twins if each.location.kind in ENTRY]
    more = f", and {len(others)} more entries of logs are the same issuance" if others else ""
    return (
        f"{facts.get('ct_log')} (of {facts.get('ct_operator') or 'an operator who is not named'}) has it as entry "
        f"{facts.get('ct_index')}, a {facts.get('ct_entry')}, since {facts.get('ct_logged_at', 'an unreadable instant')}{more}."
    )


def _names(leaf: Certificate) -> str:
    names = [each.partition(":")[2] for each in leaf.names[:SHOWN]]
    more = f" and {len(leaf.names) - SHOWN} more" if len(leaf.names) > SHOWN else ""
    return (", ".join(names) or leaf.subject or "no name that can be read")[:300] + more


def _logged_at(served: Served) -> datetime:
    """Or when it was found, if that was later: reading on from the past is not to flood."""
    return max(read_instant(served.facts.get("ct_logged_at")) or served.first_seen, served.first_seen)


def _day(instant: datetime | None) -> str:
    return "an unreadable instant" if instant is None else f"{instant:%Y-%m-%dT%H:%MZ}"


def _misbehaves(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    text = served.facts.get("ct_faults")
    if not text:
        return
    try:
        faults = [each for each in json.loads(str(text)) if isinstance(each, dict)]
    except ValueError:
        return
    if not faults:
        return
    said = " ".join(f"{each.get('kind')} ({each.get('at')}): {each.get('detail')}." for each in faults)
    heads = [head for each in faults for head in each.get("heads") or ()]
    shown = " ".join(
        f"Head of {each.get('tree_size')} entries at {each.get('timestamp')}: root {each.get('sha256_root_hash')}."
        for each in heads[:4]
    )
    yield Problem(
        severity="page",
        fingerprint=None,
        summary=f"CT log misbehaves ({', '.join(sorted({str(each.get('kind')) for each in faults}))}): {served.facts.get('ct_log')}",
        text=f"{said} {shown} The signed heads are kept: certwatch ct evidence {served.location.uri}. What is not proven is not "
        "believed, and nothing of it was taken. Tell the operator, and ct-policy@chromium.org, with the evidence; do not rely "
        "on timestamps of this log.",
    )


def _behind(served: Served, config: BehindConfig, world: World) -> Iterator[Problem | Until]:
    read_at = read_instant(served.facts.get("ct_read_at"))
    if (
        read_at is None
        or served.facts.get("ct_finished") is True
        or served.facts.get("ct_log_state") == "retired"
    ):
        return
    due = read_at + config.longest
    if world.now < due:
        yield Until(instant=due)
        return
    slow = served.facts.get("ct_slow")
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"CT log is not kept up with: {served.facts.get('ct_log')}",
        text=f"It is read up to entry {served.facts.get('ct_size')} of {served.facts.get('ct_head_size')}, and to what it took by "
        f"{served.facts.get('ct_read_at')}."
        + (f" It cannot be followed at the rate that it allows from here: {slow}." if slow else "")
        + " What was logged since is not seen. Set contact, ask the operator for a higher rate, take bandwidth and requests "
        "away, or read from another address as well.",
    )


def _unread(served: Served, config: UnreadConfig, world: World) -> Iterator[Problem | Until]:
    since, error = served.failing_since, served.error
    if since is None or error is None:
        return
    due = since + config.longest
    if world.now < due:
        yield Until(instant=due)
        return
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"CT log cannot be read: {served.facts.get('ct_log') or served.location.uri}",
        text=f"Since {_day(since)}: {error.message} What it takes meanwhile is not seen. See whether others can read it; if it was "
        "shut down, a newer log list says so.",
    )


def _undeployed(served: Served, config: UndeployedConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None or leaf.is_ca or (leaf.not_after is not None and leaf.not_after < world.now):
        return
    if _told_elsewhere(served, world) or any(each.location.standing == "served" for each in world.twins):
        return
    if not _is_known(leaf, world):
        return  # that is graver: ct-unexpected
    due = _logged_at(served) + config.grace
    if world.now < due:
        yield Until(instant=due)
        return
    yield Problem(
        severity="info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} was issued and logged, and is served nowhere",
        text=f"{_where(served, world)} No endpoint that certwatch looks at has ever served it. Deploy it, watch where it is served, or have "
        "it revoked if nobody needs it.",
    )
    if leaf.not_after is not None:
        yield Until(instant=leaf.not_after + timedelta(seconds=1))


def _timestamps(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    fault = served.facts.get("sct_fault")
    if not fault:
        return
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"Browsers may refuse {served.facts.get('certificate_name')}: its CT timestamps",
        text=f"{fault}. Seen at {served.facts.get('certificate_location')}, SHA-256 {served.facts.get('certificate')}. It has "
        f"{served.facts.get('sct_count')} timestamps, {served.facts.get('sct_valid')} of them valid, of {served.facts.get('sct_logs') or 'no known log'}. "
        "Have it reissued; if the CA does so again, tell the CA.",
    )


def _unlogged(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    logs = served.facts.get("sct_unlogged")
    if not logs:
        return
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"{served.facts.get('certificate_name')} is not in the log that promised it: {logs}",
        text=f"Its timestamp is older than the log's maximum merge delay, and the log has no such entry. Seen at "
        f"{served.facts.get('certificate_location')}, SHA-256 {served.facts.get('certificate')}. Either the log broke its promise, "
        "which its operator and ct-policy@chromium.org should hear of, or the certificate is a forgery that shows itself to few.",
    )


UNEXPECTED = Rule(
    id="ct-unexpected",
    title="Certificate that nobody here knows of",
    why="A CA has issued a certificate for a name that is watched, and it is at no other place that certwatch looks at: in no "
    "file, on no endpoint, in no CA's books, and authorised by nobody. Whoever has its key can be you. A certificate and its "
    "precertificate, in however many logs, are one finding. It resolves when the certificate is seen elsewhere, or authorised.",
    fix="Find out who asked for it. If it is yours: `certwatch ct authorize CERTIFICATE --why …`, and let certwatch look where "
    "it is used. If nobody knows it: have it revoked by its CA (the Baseline Requirements give it 24 hours), watch OCSP and the "
    "CRL until they say so, and find out how it was validated: DNS, the web server, mail. Then restrict who may issue by CAA.",
    severity="page",
    source="RFC 6962, 5.3; NIST SP 1800-16B, 5",
    evaluate=_unexpected,
    Config=UnexpectedConfig,
    kinds=ENTRY,
)
FAULTS = Rule(
    id="ct-log-misbehaves",
    title="CT log did what it must not",
    why="A log signs its whole history. One that shows two histories, forgets entries, signs a root that its entries do not make, "
    "or does not renew its head can hide a certificate from you.",
    fix="Keep the evidence (`certwatch ct evidence`), and report it to the operator and to ct-policy@chromium.org. A fork, a "
    "rollback, growth beyond the end and an entry of another index are proven by the log's own signature, and stay; the others resolve themselves when the "
    "log says what is right.",
    severity="page",
    source="RFC 6962, 5.4 and 7.3",
    evaluate=_misbehaves,
    kinds=LOG,
)
BEHIND = Rule(
    id="ct-log-behind",
    title="CT log is not kept up with",
    why="Certificates that it took since are not seen.",
    fix="`certwatch ct status` shows how fast it is read and grows. Logs limit those who do not say who they are: set `contact`.",
    severity="ticket",
    source="RFC 6962, 5.3",
    evaluate=_behind,
    Config=BehindConfig,
    kinds=LOG,
)
UNREAD = Rule(
    id="ct-log-unread",
    title="CT log cannot be read",
    why="It has not answered, or not as it must, for a day.",
    fix="The error says what it answered. Fetch its head by hand; see whether the log list still has it.",
    severity="ticket",
    source="RFC 6962, 4",
    evaluate=_unread,
    Config=UnreadConfig,
    kinds=LOG,
)
UNDEPLOYED = Rule(
    id="ct-never-deployed",
    title="Certificate was issued and logged, and is served nowhere",
    why="It is known here (in a CA's books, a file, or authorised), and no endpoint has ever served it. What is issued and not used "
    "is a key that nobody guards, or an endpoint that nobody watches.",
    fix="Deploy it, let certwatch look where it is served, or have it revoked.",
    severity="info",
    source="NIST SP 1800-16B, 4",
    evaluate=_undeployed,
    Config=UndeployedConfig,
    kinds=ENTRY,
)
SCTS = Rule(
    id="ct-timestamps",
    title="Certificate has not the CT timestamps that browsers ask for",
    why="Chrome and Safari refuse a public certificate without enough valid timestamps of different logs and operators.",
    fix="Have it reissued by a CA that logs its certificates.",
    severity="ticket",
    source="RFC 6962, 3.3; Chrome's and Apple's CT policies",
    evaluate=_timestamps,
    kinds=TIMESTAMPS,
)
UNLOGGED = Rule(
    id="ct-unlogged",
    title="Certificate is not in the log that promised it",
    why="A timestamp is a log's promise to have the certificate within its maximum merge delay. One that it does not keep hides "
    "the certificate from everybody who watches that log.",
    fix="Report it to the log's operator and to ct-policy@chromium.org, with the certificate. Have it reissued.",
    severity="ticket",
    source="RFC 6962, 3 and 5.4",
    evaluate=_unlogged,
    kinds=TIMESTAMPS,
)
