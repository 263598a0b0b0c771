"""What a cloud says of the certificates that it keeps: that a renewal does not come about, that a store is the wrong one."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.instants import read_instant
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World


class RenewalConfig(RuleConfig):
    #: How long a renewal may wait for a domain to be validated.
    grace: Duration = timedelta(days=3)


class DatabaseConfig(RuleConfig):
    #: How long before its end the CA of a database is to be exchanged.
    lead: Duration = timedelta(days=90)
    #: How long before its end the server's own certificate, which the cloud renews, is to be renewed.
    server_lead: Duration = timedelta(days=14)


def _renewal(served: Served, config: RenewalConfig, world: World) -> Iterator[Problem | Until]:
    facts, leaf = served.facts, served.leaf
    state = facts.get("renewal")
    if state not in ("failed", "pending"):
        return
    unvalidated = str(facts.get("renewal_unvalidated") or "")
    if state == "pending":
        if leaf is not None and not unvalidated:
            # The cloud is at it.
            return
        due = (read_instant(facts.get("renewal_since")) or served.first_seen) + config.grace
        if world.now < due:
            yield Until(instant=due)
            return
    what = leaf.shown if leaf is not None else str(facts.get("aws_domain") or served.location.uri)
    act = "renewed" if leaf is not None else "issued"
    reason = str(facts.get("renewal_reason") or "")
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256 if leaf is not None else None,
        summary=f"{what} is not {act} by its cloud"
        + (f" ({reason})" if reason else ": it waits for validation" if state == "pending" else ""),
        text=(f"Not validated: {unvalidated}. " if unvalidated else "")
        + "The cloud tries again by itself as long as the certificate is in use and its DNS records stand. See that the CNAME "
        "records that it asked for are there, that no CAA record forbids its CA, and that the name still leads to it.",
    )


def _database(served: Served, config: DatabaseConfig, world: World) -> Iterator[Problem | Until]:
    facts = served.facts
    name = str(facts.get("aws_certificate_authority") or "its CA")
    place = served.location.uri.removeprefix("aws://")
    for what, lead, end in (
        (f"CA {name}", config.lead, read_instant(facts.get("aws_certificate_authority_not_after"))),
        ("server certificate", config.server_lead, read_instant(facts.get("aws_certificate_not_after"))),
    ):
        if end is None:
            continue
        if world.now < end - lead:
            yield Until(instant=end - lead)
            continue
        yield Problem(
            severity="ticket",
            fingerprint=None,
            summary=f"Database {place}: its {what} ends at {end:%Y-%m-%dT%H:%MZ}",
            text="Clients that verify it are cut off then. Give clients the new CA bundle first, then set the instance to a "
            "newer CA (`aws rds modify-db-instance --ca-certificate-identifier …`), in a maintenance window if its engine "
            "restarts for that.",
        )
        return


def _wrong_store(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if served.facts.get("aws_certificate_source") != "iam":
        return
    leaf = served.leaf
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256 if leaf is not None else None,
        summary=f"{leaf.shown if leaf is not None else served.location.uri} is served by CloudFront from IAM",
        text="Nothing renews a certificate in IAM: whoever uploaded it must do so again, and change the distribution. Put it in "
        "ACM in us-east-1, where renewal needs no change to the distribution, and delete it from IAM.",
    )


RENEWAL = Rule(
    id="cloud-renewal-failing",
    title="Cloud does not renew or issue a certificate that it manages",
    why="A managed certificate is renewed by the cloud for as long as it can validate the names. When it cannot, it says so in "
    "an API that nobody reads, until the certificate ends.",
    fix="Put the validation records back, look at CAA records, or import a certificate of your own.",
    severity="ticket",
    source="AWS ACM, RenewalSummary; Google Certificate Manager, provisioningIssue",
    evaluate=_renewal,
    Config=RenewalConfig,
    kinds=frozenset(["aws", "azure", "gcp", "cloudflare", "fastly"]),
)
DATABASE = Rule(
    id="cloud-database-ca",
    title="Managed database is under a CA that ends",
    why="RDS, Aurora and DocumentDB show certificates of Amazon's own CAs, which are exchanged by nobody but you. When one ends, "
    "every client that verifies it is cut off at once.",
    fix="Roll out the new CA bundle to clients, then set the instance to a newer CA.",
    severity="ticket",
    source="AWS RDS, DescribeCertificates",
    evaluate=_database,
    Config=DatabaseConfig,
    kinds=frozenset(["aws"]),
)
WRONG_STORE = Rule(
    id="cloud-wrong-store",
    title="CloudFront serves a certificate from IAM",
    why="IAM was where certificates for CloudFront lay before ACM. What is there is renewed by hand, and the distribution must "
    "be changed each time.",
    fix="Move it to ACM in us-east-1.",
    severity="ticket",
    source="AWS CloudFront, ViewerCertificate",
    evaluate=_wrong_store,
    Config=RuleConfig,
    kinds=frozenset(["aws"]),
)
