"""Revocation as clients meet it: what responders, CRLs and staples say, and whether they say it in time."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from pydantic import Field

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Problem, Severity
from certwatch.model.instants import read_instant
from certwatch.model.location import FILE_KINDS, standing_of
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: Kinds of location that the revocation collector makes.
OCSP_KIND = "ocsp"
CRL_KINDS = ("http", "https")
#: What was seen before its end may have been replaced since, though nobody has looked: a page waits so long for a look.
UNTIL_LOOKED = timedelta(minutes=30)
TICK = timedelta(seconds=1)


def text_of(served: Served, fact: str) -> str:
    """Empty: it is not said."""
    return str(served.facts.get(fact) or "")


def instant_of(served: Served, fact: str) -> datetime | None:
    """None: it is not said, or no instant with a zone."""
    return read_instant(served.facts.get(fact))


def _ended(served: Served, end: datetime, now: datetime) -> bool:
    """And seen to be: by a look after it, or by so much time that there must have been one."""
    looked = served.last_seen is not None and served.last_seen > end
    return now > end and (looked or now >= end + UNTIL_LOOKED)


def about_of(served: Served) -> Fingerprint | None:
    """The certificate that a statement is about."""
    try:
        return Fingerprint(bytes.fromhex(text_of(served, "certificate"))) or None
    except ValueError:
        return None


def _revoked(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if served.facts.get("revocation_status") != "revoked":
        return
    if standing_of(text_of(served, "certificate_location")) == "recorded":
        return  # in its CA's books, and in use nowhere
    reason = text_of(served, "revocation_reason")
    since = text_of(served, "revoked_at")
    source = "its OCSP responder" if served.location.kind == OCSP_KIND else "its CRL"
    yield Problem(
        severity="page",
        fingerprint=about_of(served),
        summary=f"{text_of(served, 'certificate_name')} is revoked, and still in use",
        text=f"{source[0].upper()}{source[1:]} says so"
        + (f", since {since}" if since else "")
        + (f", for the reason {reason}" if reason else "")
        + f". It is seen at {text_of(served, 'certificate_location')}; certwatch list "
        f"{text_of(served, 'certificate')[:16]} shows all places. Clients that check refuse it. Put another certificate "
        "in its place, with another key if the reason is keyCompromise.",
    )


class OverdueConfig(RuleConfig):
    #: How long requests must fail before a ticket is opened.
    ticket: Duration = timedelta(minutes=15)
    #: How long before somebody is paged.
    page: Duration = timedelta(hours=2)


def _failing(served: Served, config: OverdueConfig, world: World) -> Iterator[Severity | Until]:
    if served.failing_since is None or served.error is None:
        return
    for severity, after in (("page", config.page), ("ticket", config.ticket)):
        due = served.failing_since + after
        if world.now >= due:
            yield severity  # type: ignore[misc] # one of the two
            return
        yield Until(instant=due)


def _responder_failing(served: Served, config: OverdueConfig, world: World) -> Iterator[Problem | Until]:
    for said in _failing(served, config, world):
        if isinstance(said, Until):
            yield said
        elif served.error is not None:
            yield Problem(
                severity=said,
                fingerprint=about_of(served),
                summary=f"OCSP responder does not answer: {served.location.uri.partition('?')[0]}",
                text=f"{served.error.message} Clients that insist on an answer refuse the certificate, others wait for "
                "it. Servers that staple go on with their last answer until that ends.",
            )


def _responder_wrong(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if served.failing_since is not None:
        return
    name, fault = text_of(served, "certificate_name"), text_of(served, "ocsp_fault")
    if fault:
        yield Problem(
            severity="page" if fault in ("delegate", "stale", "signature") else "ticket",
            fingerprint=about_of(served),
            summary=f"OCSP answer for {name} must not be believed: {fault}",
            text=f"{text_of(served, 'ocsp_fault_text')}. Clients take such an answer for none. It is the CA's to mend: show "
            f"them `openssl ocsp` against {served.location.uri.partition('?')[0]}.",
        )
        return
    if served.facts.get("revocation_status") == "unknown":
        yield Problem(
            severity="ticket",
            fingerprint=about_of(served),
            summary=f"OCSP responder does not know {name}",
            text="The responder that the certificate names says that it knows nothing of it: the CA has lost it, has not "
            "told its responder yet (minutes are usual), or did not issue it.",
        )
    end = instant_of(served, "ocsp_next_update")
    if end is not None and _ended(served, end, world.now):
        yield Problem(
            severity="page",
            fingerprint=about_of(served),
            summary=f"OCSP answer for {name} has ended at {text_of(served, 'ocsp_next_update')}",
            text="The responder did not renew it in time.",
        )
    elif end is not None:
        yield Until(instant=end + UNTIL_LOOKED)


class CRLConfig(RuleConfig):
    #: A ticket when so much of its validity is left, in percent.
    remaining_percent: int = Field(default=20, ge=0, le=100)


class CRLSizeConfig(RuleConfig):
    #: A ticket when it is larger, in bytes: every client loads all of it.
    max_bytes: int = Field(default=10_000_000, gt=0)


def _crl(served: Served, config: CRLConfig, world: World) -> Iterator[Problem | Until]:
    issuer = text_of(served, "crl_issuer")
    if not issuer:
        return
    if served.facts.get("crl_verified") is False:
        yield Problem(
            severity="ticket",
            fingerprint=None,
            summary=f"CRL of {issuer} is signed by no known CA of that name",
            text="Nobody can believe it as long as the CA's certificate is unknown: watch a file or an endpoint that "
            "holds it. If it is known, the CRL is another CA's or forged.",
        )
    begin, end = instant_of(served, "crl_this_update"), instant_of(served, "crl_next_update")
    if begin is not None and end is not None:
        due = end - (end - begin) * config.remaining_percent / 100
        if _ended(served, end, world.now):
            in_file = served.location.kind in FILE_KINDS
            yield _near_end(served, issuer, "ticket" if in_file else "page", "has ended")
            return
        if world.now >= due:
            yield _near_end(served, issuer, "ticket", "has ended" if world.now > end else "ends")
        yield from (Until(instant=each) for each in (due, end + TICK, end + UNTIL_LOOKED) if each > world.now)


def _near_end(served: Served, issuer: str, severity: Severity, verb: str) -> Problem:
    return Problem(
        severity=severity,
        fingerprint=None,
        summary=f"CRL of {issuer} {verb} at {text_of(served, 'crl_next_update')}",
        text=f"{served.location.uri} is past most of its validity, and no newer one is there. Clients that check refuse "
        "every certificate of that CA once it has ended. See that the CA makes its CRL and that it is published.",
    )


def _crl_size(served: Served, config: CRLSizeConfig, world: World) -> Iterator[Problem | Until]:
    size = served.facts.get("crl_bytes")
    if not isinstance(size, int) or isinstance(size, bool) or size <= config.max_bytes:
        return
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"CRL of {text_of(served, 'crl_issuer')} has more than {config.max_bytes:,} bytes",
        text=f"{served.location.uri} has {size:,} bytes and {text_of(served, 'crl_entries')} entries. Clients load all of it "
        "or give up. Have the CA partition it (IssuingDistributionPoint), or issue for shorter.",
    )


def _crl_failing(served: Served, config: OverdueConfig, world: World) -> Iterator[Problem | Until]:
    if about_of(served) is not None:
        return  # what a list says of one certificate; the list itself is told of
    for said in _failing(served, config, world):
        if isinstance(said, Until):
            yield said
        elif served.error is not None:
            yield Problem(
                severity="ticket" if said == "page" and instant_of(served, "crl_next_update") else said,
                fingerprint=None,
                summary=f"CRL cannot be fetched: {served.location.uri}",
                text=f"{served.error.message} Clients that have none refuse every certificate that names it, or let all "
                "pass.",
            )


def _staple(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None:
        return
    if served.facts.get("ocsp_stapled_intermittently") is True:
        # One word for both states, or it would come and go with each look.
        yield Problem(
            severity="page" if leaf.must_staple else "ticket",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{leaf.shown}: an OCSP answer is stapled now and then",
            text="Looks within a day found a staple, none, and one again. Usually each worker or replica has a staple of its "
            "own and gets it late, or one of them cannot reach the responder. Let one place keep it (ssl_stapling_file, "
            "SSLStaplingCache), and look at each replica.",
        )
        return
    if served.facts.get("ocsp_stapled") is False:
        if leaf.must_staple:
            yield Problem(
                # Once is what a server does that has just been started.
                severity="page" if served.facts.get("ocsp_staple_missing_again") is True else "ticket",
                fingerprint=leaf.fingerprint_sha256,
                summary=f"{leaf.shown} demands a stapled OCSP answer, and none is served",
                text="The certificate has the TLS feature status_request (must-staple, RFC 7633): browsers that know it "
                "refuse the connection. Switch stapling on at the server and see that it reaches the responder; nginx "
                "has none after a restart until the first connection, unless a file gives it.",
            )
        return
    end, fault = instant_of(served, "staple_next_update"), text_of(served, "staple_fault")
    ended = end is not None and _ended(served, end, world.now)
    if fault or ended:
        yield Problem(
            severity="page" if leaf.must_staple else "ticket",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{leaf.shown}: the stapled OCSP answer must not be believed: {fault or 'stale'}",
            text="Strict clients refuse the connection for it, which is worse than no staple at all. See that the server "
            "can reach the responder, and reload it.",
        )
    elif end is not None:
        yield Until(instant=end + UNTIL_LOOKED)


SEE = (
    "See what was answered: `certwatch show LOCATION`. Ask for yourself: `openssl ocsp -issuer ISSUER.pem -cert CERT.pem -url URL "
    "-resp_text`; `certwatch show FINGERPRINT --pem` gives the files."
)

REVOKED = Rule(
    id="revoked",
    title="Certificate is revoked and still in use",
    why="Its CA has taken it back. Clients that check refuse it at once, the others when their cache ends; and "
    "somebody had a reason.",
    fix="Find out why (the reason, who asked for it). Issue a new one, with a new key if that was compromised, and put it "
    f"in every place that `certwatch show` names. {SEE}",
    severity="page",
    source="RFC 5280, 6.1.3 (a) (3)",
    evaluate=_revoked,
    kinds=frozenset([OCSP_KIND, *CRL_KINDS]),
)
OCSP_FAILING = Rule(
    id="ocsp-failing",
    title="OCSP responder does not answer",
    why="The responder that a live certificate names cannot be asked. Servers lose their staples, and clients wait or "
    "refuse.",
    fix=f"If the responder is yours, bring it back; else tell the CA, and see its status page. {SEE}",
    severity="page",
    source="RFC 6960; Baseline Requirements, 4.10.2",
    evaluate=_responder_failing,
    Config=OverdueConfig,
    kinds=frozenset([OCSP_KIND]),
)
OCSP_WRONG = Rule(
    id="ocsp-wrong",
    title="OCSP answer must not be believed",
    why="The responder answers, but with something that a careful client does not take: signed by a delegate that has "
    "expired or was never appointed, past its time, about another certificate, or not knowing the certificate at all.",
    fix=f"It is the CA's to mend. {SEE}",
    severity="page",
    source="RFC 6960, 3.2",
    evaluate=_responder_wrong,
    kinds=frozenset([OCSP_KIND]),
)
CRL_STALE = Rule(
    id="crl-stale",
    title="CRL ends, or cannot be believed",
    why="A CRL past its next update revokes nothing any more, and careful clients then refuse everything of that CA. A ticket with "
    "a fifth of its validity left; a page when a look after its end has found no newer one, half an hour after it at the latest.",
    fix="See that the CA makes it on time and that every place that publishes it has the newest.",
    severity="page",
    source="RFC 5280, 5.1.2.5",
    evaluate=_crl,
    Config=CRLConfig,
    kinds=frozenset([*CRL_KINDS, "file"]),
)
CRL_LARGE = Rule(
    id="crl-large",
    title="CRL is very large",
    why="Every client that checks loads the whole list; small devices and short time limits give up.",
    fix="Partition it, drop what has expired, or issue certificates with shorter lives.",
    severity="ticket",
    source="RFC 5280, 5.2.5",
    evaluate=_crl_size,
    Config=CRLSizeConfig,
    kinds=frozenset([*CRL_KINDS, "file"]),
)
CRL_FAILING = Rule(
    id="crl-failing",
    title="CRL cannot be fetched",
    why="A live certificate names a CRL that cannot be had.",
    fix="Fetch it yourself: `curl -v URL | openssl crl -inform DER -text | head`. If it is yours, publish it again.",
    severity="page",
    source="RFC 5280, 4.2.1.13",
    evaluate=_crl_failing,
    Config=OverdueConfig,
    kinds=frozenset(CRL_KINDS),
)
STAPLE = Rule(
    id="ocsp-staple",
    title="OCSP stapling is missing, wrong or intermittent",
    why="The certificate demands a staple and the server has none, or has one now and then, or what it staples is past its time, of another "
    "certificate, or signed by nobody who may. One that is missing is a ticket at the first look, since servers have none when "
    "they have just been started, and a page at the second.",
    fix="Switch stapling on, give the server the whole chain and a way to the responder, and reload it: "
    "`openssl s_client -connect HOST:PORT -servername NAME -status </dev/null`.",
    severity="page",
    source="RFC 7633; RFC 6066, 8",
    evaluate=_staple,
    kinds=frozenset(["tls"]),
)
