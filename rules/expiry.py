"""Expiry: by leads that follow the lifetime, so that short lives do not flood and long ones are not noticed late."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem, Severity
from certwatch.model.location import FILE_KINDS
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess, purpose_at
from certwatch.pki.openssl import Purpose
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.drift import renews

#: Renewal is expected with a third of the lifetime left, below this with half of it (what ACME servers suggest, RFC
#: 9773).
SHORT = timedelta(days=10)
#: It is overdue a twelfth of the lifetime later, and urgent when a twelfth is left: what renews in time comes near neither.
GRACE_PART = 12
PAGE_PART = 12
TICK = timedelta(seconds=1)
#: Clocks are: what begins within it has begun before anybody has looked.
SECONDS_APART = timedelta(minutes=1)
#: So many places of one key may be more than are named.
MANY = 50
RECHECK = timedelta(hours=6)
LAST = datetime.max.replace(tzinfo=UTC)


class ExpiryConfig(RuleConfig):
    #: Page this long before the end; at most a twelfth of the lifetime.
    page: Duration = timedelta(hours=48)
    #: Ticket this long before the end; at most when its renewal is overdue: a quarter of the lifetime, five twelfths below ten
    #: days.
    ticket: Duration = timedelta(days=30)


def concerned(served: Served, world: World) -> Iterator[tuple[int, Certificate]]:
    """Position and certificate of what clients depend on at a location. In a bundle everything but the CAs: a trust
    store carries its anchors until its maker takes them out."""
    if served.facts.get("arrangement") == "bundle":
        yield from ((index, each) for index, each in enumerate(served.chain) if not each.is_ca)
        return
    if not served.chain:
        return
    yield from assess(served.chain, world.trust, world.now, purpose_of(served)).needed_of(served.chain)


def purpose_of(served: Served) -> Purpose:
    return purpose_at(served.location.kind)


def end_of(certificate: Certificate) -> datetime | None:
    """The first instant at which it is no longer valid: both ends of the validity are inside it (RFC 5280, 4.1.2.5).
    None: unreadable, or the calendar's last second, 99991231235959Z, by which the same section means that there is no
    end."""
    if certificate.not_after is None or certificate.not_after > LAST - TICK:
        return None
    return certificate.not_after + TICK


def leads(certificate: Certificate, config: ExpiryConfig) -> tuple[timedelta, timedelta]:
    """Page lead and ticket lead."""
    lifetime = certificate.lifetime or timedelta(0)
    page = min(config.page, lifetime / PAGE_PART)
    overdue = lifetime / (2 if lifetime < SHORT else 3) - lifetime / GRACE_PART
    return page, max(page, min(config.ticket, overdue))


def _expiry(served: Served, config: ExpiryConfig, world: World) -> Iterator[Problem | Until]:
    # A file serves nobody, nor does what its store says that nobody uses: it is put right in working hours.
    idle = served.location.kind in FILE_KINDS or served.facts.get("in_use") is False
    gravest: Severity = "ticket" if idle else "page"
    for position, certificate in concerned(served, world):
        end = end_of(certificate)
        if end is None or certificate.not_after is None:
            continue
        page, ticket = leads(certificate, config)
        bands: list[tuple[datetime, Severity, str]] = [
            (certificate.not_after - ticket, "ticket", "expires"),
            (certificate.not_after - page, gravest, "expires"),
            (end, gravest, "expired"),
        ]
        reached = [band for band in bands if band[0] <= world.now]
        if len(reached) < len(bands):
            yield Until(instant=bands[len(reached)][0])
        if not reached:
            continue
        if position == 0 and served.location.standing == "stored" and _is_over(certificate, world):
            # Its successor may be gone again, or somebody serve it after all.
            yield Until(instant=world.now + RECHECK)
            continue
        _, severity, verb = reached[-1]
        yield _problem(certificate, position, severity, verb)


def _is_over(certificate: Certificate, world: World) -> bool:
    """Nobody is waiting for its renewal: it is retired, or a later one for its names is somewhere, and no endpoint serves it."""
    if world.marks.retired(certificate) is not None:
        return True
    if len(world.sharers) >= MANY:
        return False  # an endpoint may be among those that are not named
    if any(
        each.location.standing == "served"
        and each.certificate.fingerprint_sha256 == certificate.fingerprint_sha256
        for each in world.sharers
    ):
        return False
    return any(renews(each.certificate, certificate) for each in world.neighbours)


def _problem(certificate: Certificate, position: int, severity: Severity, verb: str) -> Problem:
    assert certificate.not_after is not None  # noqa: S101
    end = certificate.not_after.isoformat().replace("+00:00", "Z")
    place = "" if position == 0 else f" (certificate {position + 1} of the chain, {certificate.subject})"
    if verb == "expired":
        consequence = "Clients refuse it now."
    else:
        consequence = "From then on clients refuse it."
    return Problem(
        severity=severity,
        fingerprint=certificate.fingerprint_sha256,
        summary=f"{certificate.shown} {verb} at {end}{place}",
        text=f"Issued by {certificate.issuer or 'an unreadable issuer'}, valid until {end}. {consequence} "
        "Renew it, put it in place at every location named here, and reload what serves it; then find out why "
        "its renewal did not happen by itself.",
    )


def _not_yet_valid(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    for _, certificate in concerned(served, world):
        if certificate.not_before is None or certificate.not_before <= world.now:
            continue
        yield Until(instant=certificate.not_before)
        if certificate.not_before - world.now <= SECONDS_APART:
            continue
        start = certificate.not_before.isoformat().replace("+00:00", "Z")
        yield Problem(
            severity="ticket" if served.location.kind in FILE_KINDS else "page",
            fingerprint=certificate.fingerprint_sha256,
            summary=f"{certificate.shown} is not valid before {start}",
            text="Clients refuse it until then. Put the former certificate back if it is still good; if this one was "
            "issued just now, compare the clocks of the CA and of this host.",
        )


RULE = Rule(
    id="expiry",
    title="Certificate expires soon or has expired",
    why="From the second after notAfter, clients refuse the connection. Certificates are renewed when a third of "
    "their lifetime is left (half, below ten days); one that is a twelfth past that is overdue. So the leads follow the "
    "lifetime: a ticket at 30 days before the end or when its renewal is overdue, whichever is later, a page at 48 hours "
    "or a twelfth of the lifetime. A six-day certificate opens a ticket 60 hours before its end and pages at 12; a 90-day one at 22.5 days "
    "and 48 hours; a 398-day one at 30 days and 48 hours. Every certificate that clients need counts, intermediates "
    "too; members of the chain that they do not need, and CAs in a trust store, do not. A file pages nobody; and where a certificate only lies, while a later one for its names is somewhere and no "
    "endpoint serves it, or it is marked as retired, its end is nobody's matter. The last "
    "certificate seen counts while an endpoint does not answer.",
    fix="Renew it and reload what serves it, at every location. See it: `certwatch show LOCATION`, `openssl s_client "
    "-connect HOST:PORT -servername NAME </dev/null | openssl x509 -noout -dates`.",
    severity="page",
    source="RFC 5280, 4.1.2.5",
    evaluate=_expiry,
    Config=ExpiryConfig,
)

NOT_YET_VALID = Rule(
    id="not-yet-valid",
    title="Certificate is not valid yet",
    why="Before notBefore clients refuse the connection as they do after notAfter. It happens when a certificate is "
    "put in place before its time, or when clocks disagree. What begins within a minute is not told.",
    fix="Put the former certificate back, or wait; compare the clocks of the CA, of the server and of this host "
    "(`certwatch doctor`).",
    severity="page",
    source="RFC 5280, 4.1.2.5",
    evaluate=_not_yet_valid,
)
