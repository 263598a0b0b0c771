"""How a CA issues: how much, for whom, for how long, by which numbers, and how long yet."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from pydantic import Field

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.ca_database import DATABASE, RECORD

DAY = timedelta(days=1)
#: Days before that a day is held against; with fewer nothing is said.
LEAST_DAYS = 3


class SpikeConfig(RuleConfig):
    #: So many times the usual number of a day is a spike.
    factor: float = Field(default=5, ge=1)
    #: Below so many a day nothing is.
    least: int = Field(default=100, ge=1)


class DuplicatesConfig(RuleConfig):
    #: Certificates for one name that may be in force at once.
    limit: int = Field(default=10, ge=1, le=49)


class PolicyConfig(RuleConfig):
    #: The longest validity that may be issued. None: any.
    longest: Duration | None = None
    #: By profile, instead of `longest`.
    profiles: Mapping[str, Duration] = Field(default_factory=dict)
    #: The only profiles that may be issued by. Empty: all.
    allowed: tuple[str, ...] = ()


class HorizonConfig(RuleConfig):
    #: How long before a CA has less life left than what it issues there is a ticket.
    ahead: Duration = timedelta(days=30)


def _spike(served: Served, config: SpikeConfig, world: World) -> Iterator[Problem | Until]:
    days = dict(_days(served.facts.get("ca_issued_by_day")))
    today = world.now.astimezone(UTC).date()
    if not days:
        return
    # When the day is over it is held against others.
    yield Until(instant=datetime.combine(today + DAY, time(), UTC))
    for day in (today, today - DAY):
        before = [days.get(day - n * DAY, 0) for n in range(1, 15) if day - n * DAY >= min(days)]
        count = days.get(day, 0)
        if len(before) < LEAST_DAYS or count < config.least:
            continue
        usual = median(before)
        if count > config.factor * max(usual, 1):
            yield Problem(
                severity="ticket",
                fingerprint=None,
                summary=f"{served.location.uri} issued {count} certificates on {day}, and {usual:g} on a usual day",
                text="A client that renews in a loop, a roll-out that nobody announced, or somebody who has found a way to have "
                "certificates issued. See who asked for them and by which profile (`certwatch list --collector "
                f"{served.location.uri.rpartition('/')[2]} --sort first_seen`), and stop it there.",
            )
            return


def _days(text: object) -> Iterator[tuple[date, int]]:
    for part in str(text or "").split():
        day, _, count = part.partition(":")
        try:
            yield date.fromisoformat(day), int(count)
        except ValueError:
            continue


def _duplicates(served: Served, config: DuplicatesConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None or served.facts.get("ca_status") != "issued" or not _lives(leaf, world.now):
        return
    others = {
        each.certificate.fingerprint_sha256: each.certificate
        for each in world.neighbours
        if each.location.startswith("cadb:") and _lives(each.certificate, world.now)
    }
    if len(others) + 1 <= config.limit:
        return
    ends = [each.not_after for each in others.values() if each.not_after is not None]
    if ends:
        yield Until(instant=min(ends) + timedelta(seconds=1))
    # One finding for all of them: at the newest.
    if any(_order(each) > _order(leaf) for each in others.values()):
        return
    yield Problem(
        severity="info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} has {len(others) + 1} certificates in force",
        text=f"More than {config.limit} were issued for it that have not ended. Each can be used by whoever has its key, and has to "
        "be replaced and revoked by itself. Find what asks anew each time (a container without a volume, a job that issues "
        "instead of renewing), and revoke those that are not in use.",
    )


def _lives(certificate: Certificate, now: datetime) -> bool:
    return certificate.not_after is None or certificate.not_after >= now


def _order(certificate: Certificate) -> tuple[float, bytes]:
    begin = certificate.not_before.timestamp() if certificate.not_before is not None else 0.0
    return begin, certificate.fingerprint_sha256


def _policy(served: Served, config: PolicyConfig, world: World) -> Iterator[Problem | Until]:
    leaf, profile = served.leaf, str(served.facts.get("ca_profile") or "")
    if leaf is None or served.facts.get("ca_status") != "issued" or not _lives(leaf, world.now):
        return
    if config.longest is None and not config.profiles and not config.allowed:
        return
    if leaf.not_after is not None:
        yield Until(instant=leaf.not_after + timedelta(seconds=1))
    by = f" by profile {profile}" if profile else ""
    if config.allowed and profile not in config.allowed:
        yield Problem(
            severity="ticket",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{leaf.shown} was issued{by or ' by no profile'}, which is not allowed",
            text=f"Allowed are {', '.join(config.allowed)[:200]}. Find who asked for it"
            + (f" ({served.facts['ca_requester']})" if served.facts.get("ca_requester") else "")
            + "; have it issued anew by a profile that is, and revoke it.",
        )
        return
    longest = config.profiles.get(profile, config.longest)
    if longest is not None and leaf.lifetime is not None and leaf.lifetime > longest + timedelta(seconds=1):
        yield Problem(
            severity="ticket",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{leaf.shown} was issued{by} for {leaf.lifetime.days} days, longer than is allowed",
            text=f"Allowed are {longest / DAY:g} days. Correct the profile at the CA, and have it issued anew.",
        )


def _entropy(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    count = served.facts.get("ca_short_serials")
    if not isinstance(count, int) or count == 0:
        return
    yield Problem(
        severity="info",
        fingerprint=None,
        summary=f"{served.location.uri} issues by serial numbers that can be guessed",
        text=f"{count} certificates of the last 90 days have serial numbers of less than 64 bits: they are counted, or drawn from "
        "too few. Who can foresee what will be signed has a hold on the hash (so MD5 was broken in 2008); a CA that counts, and "
        "is restored from a backup, gives numbers twice. Public CAs must draw at least 64 bits. `openssl ca`: "
        "`rand_serial = yes`.",
    )


def _horizon(served: Served, config: HorizonConfig, world: World) -> Iterator[Problem | Until]:
    days = served.facts.get("ca_longest_lifetime_days")
    if not isinstance(days, int) or days < 1:
        return
    longest = days * DAY
    # Of several certificates of one CA the last to end counts.
    latest: dict[bytes, Certificate] = {}
    for each in served.chain:
        if each.is_ca and each.not_after is not None and each.subject_der is not None:
            known = latest.get(each.subject_der)
            if known is None or known.not_after is None or known.not_after < each.not_after:
                latest[each.subject_der] = each
    for each in latest.values():
        if each.not_after is None or each.not_after < world.now:
            continue
        due = each.not_after - longest - config.ahead
        if world.now < due:
            yield Until(instant=due)
            continue
        yield Until(instant=each.not_after + timedelta(seconds=1))
        yield Problem(
            severity="ticket",
            fingerprint=each.fingerprint_sha256,
            summary=f"{each.shown} cannot issue certificates of {days} days for much longer",
            text=f"It ends at {each.not_after:%Y-%m-%dT%H:%MZ}, and its database has certificates of the last 90 days that live for "
            f"{days} days: from {each.not_after - longest:%Y-%m-%d} on what it issues is cut short or refused. Bring its "
            "successor into use before.",
        )


SPIKE = Rule(
    id="ca-issuance-spike",
    title="CA issues far more than on a usual day",
    why="A loop of renewals, or somebody who has certificates made: both show first in how many there are. A day, by the "
    "beginning of validity, is held against the median of the fourteen before it.",
    fix="Find the requester and stop it there. Revoke what nobody asked for.",
    severity="ticket",
    source="NIST SP 800-57 Part 2, 3.2",
    evaluate=_spike,
    Config=SpikeConfig,
    kinds=DATABASE,
)
DUPLICATES = Rule(
    id="ca-duplicates",
    title="One name has many certificates in force",
    why="Every certificate in force has a key somewhere that stands for the name. Those that nobody remembers are not replaced when "
    "they should be. Revoked ones count until they end; of a name at most fifty are looked at.",
    fix="Renew instead of issuing anew; revoke what is not in use.",
    severity="info",
    source="NIST SP 1800-16B, 4",
    evaluate=_duplicates,
    Config=DuplicatesConfig,
    kinds=RECORD,
)
POLICY = Rule(
    id="ca-policy",
    title="Certificate was issued against the policy",
    why="A profile that was meant for tests, a validity that the policy does not allow: the CA's books say what it did, whatever the "
    "policy says. Nothing is checked as long as nothing is set.",
    fix="Correct the CA's configuration; have the certificate issued anew, and revoke it.",
    severity="ticket",
    source="RFC 3647, 4.6",
    evaluate=_policy,
    Config=PolicyConfig,
    kinds=RECORD,
)
ENTROPY = Rule(
    id="ca-serial-entropy",
    title="CA gives serial numbers that can be guessed",
    why="Serial numbers of less than 64 bits are counted or drawn from too few.",
    fix="Let the CA draw them: 64 bits and more from a good source.",
    severity="info",
    source="Baseline Requirements, 7.1.2.7; RFC 5280, 4.1.2.2",
    evaluate=_entropy,
    kinds=DATABASE,
)
HORIZON = Rule(
    id="ca-issuing-horizon",
    title="CA has less life left than what its books say that it issues",
    why="A CA stops being of use when its remaining life is shorter than what it issues, long before it ends itself. By the longest "
    "validity of the last 90 days in its database, and the CA's own certificates: `authorities`, or what the database has of "
    "them.",
    fix="Make the successor, publish it to clients, and move issuance to it.",
    severity="ticket",
    source="RFC 5280, 6.1.3 (a) (2)",
    evaluate=_horizon,
    Config=HorizonConfig,
    kinds=DATABASE,
)
