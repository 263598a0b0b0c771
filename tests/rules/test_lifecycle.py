"""CAs that end too early, the Web PKI's clock, keys and protocols that are not enough."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwatch.model.finding import Problem
from certwatch.model.location import file_location
from certwatch.model.observation import Fact
from certwatch.model.sighting import Served
from certwatch.pki.trust import TrustStore
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from certwatch.x509.der import read
from rules.policy_clock import VALIDITY_LIMITS, is_short_lived, validity_limit
from tests.support.serving import INTERMEDIATE, ROOT, TRUST, served

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
PUBLIC = {"public": TrustStore.from_certificates("public", [read(ROOT.der)], public=True)}
FILE = file_location("/etc/ssl/site.pem")


def said(
    rule: str, place: Served, now: datetime = EPOCH, *, trust: Any = TRUST, **config: Any
) -> list[Problem | Until]:
    loaded = registry.load("rules", rule)
    return (
        []
        if not loaded.concerns(place)
        else list(loaded.evaluate(place, loaded.Config.model_validate(config), World(now=now, trust=trust)))
    )


def problems(rule: str, place: Served, now: datetime = EPOCH, **fields: Any) -> list[str]:
    return [each.severity for each in said(rule, place, now, **fields) if isinstance(each, Problem)]


def lasting(days: float, begin: datetime = EPOCH, **fields: Any) -> Served:
    made = make_certificate(
        issuer=INTERMEDIATE, not_before=begin, not_after=begin + timedelta(days=days) - SECOND, **fields
    )
    return served((made, INTERMEDIATE))


def test_a_ca_that_has_less_left_than_it_issues_is_told_thirty_days_ahead() -> None:
    ca = make_ca("Short", issuer=ROOT, key_number=70, not_after=EPOCH + 200 * DAY)
    leaf = make_certificate(issuer=ca, not_before=EPOCH - 10 * DAY, not_after=EPOCH + 80 * DAY)
    place = served((leaf, ca))
    due = EPOCH + (200 - 90 - 30) * DAY
    assert Until(instant=due) in said("ca-horizon", place)
    assert problems("ca-horizon", place, due - SECOND) == []
    assert problems("ca-horizon", place, due) == ["ticket"]


def test_a_leaf_that_outlives_its_issuer_is_told_at_once() -> None:
    ca = make_ca("Short", issuer=ROOT, key_number=70, not_after=EPOCH + 20 * DAY)
    place = served((make_certificate(issuer=ca, not_after=EPOCH + 60 * DAY), ca))
    (problem,) = said("ca-horizon", place)
    assert isinstance(problem, Problem)
    assert "outlives its issuer CN=Short" in problem.summary


@pytest.mark.parametrize("limit", VALIDITY_LIMITS)
def test_the_longest_life_is_that_of_the_day_a_certificate_begins(limit: Any) -> None:
    days = limit.longest.days
    before = limit.since + HOUR
    assert problems("lifetime-too-long", lasting(days, before), before, trust=PUBLIC) == []
    assert problems("lifetime-too-long", lasting(days + 1, before), before, trust=PUBLIC) in (["ticket"], [])
    assert validity_limit(limit.since - SECOND) != limit
    assert validity_limit(limit.since) == limit


def test_the_clock_binds_what_leads_to_a_public_store_and_nothing_else() -> None:
    place = lasting(201)
    assert problems("lifetime-too-long", place, trust=PUBLIC) == ["ticket"]
    assert problems("lifetime-too-long", place, trust=TRUST) == []


def test_a_day_is_a_short_life_and_ten_days_no_longer_are() -> None:
    assert is_short_lived(EPOCH, 7 * DAY)
    assert not is_short_lived(EPOCH, 10 * DAY)
    assert is_short_lived(datetime(2025, 1, 1, tzinfo=UTC), 10 * DAY)


def test_a_public_certificate_for_clients_is_told_and_forbidden_from_its_day_on() -> None:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    later = datetime(2027, 3, 15, tzinfo=UTC)
    for begin, severity in ((EPOCH, "info"), (later, "ticket")):
        place = lasting(90, begin, extensions=[(both, False)])
        assert problems("public-client-auth", place, begin, trust=PUBLIC) == [severity]
        assert problems("public-client-auth", place, begin, trust=TRUST) == []


@pytest.mark.parametrize(
    ("name", "broad"), [("*.com", True), ("*.co.uk", True), ("*.example.com", False), ("*.x.co.uk", False)]
)
def test_a_wildcard_for_other_peoples_names_is_told(name: str, broad: bool) -> None:
    assert bool(problems("wildcard-broad", lasting(90, names=(f"dns:{name}",)))) is broad


@pytest.mark.parametrize(
    ("version", "cipher", "weak"),
    [
        ("TLSv1.3", "TLS_AES_256_GCM_SHA384", False),
        ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", False),
        ("TLSv1.2", "ECDHE-RSA-AES128-SHA", False),
        ("TLSv1.2", "DES-CBC3-SHA", True),
        ("TLSv1.2", "RC4-MD5", True),
        ("TLSv1.1", "ECDHE-RSA-AES128-SHA", True),
        ("TLSv1", "AES128-SHA", True),
        (None, None, False),
    ],
)
def test_what_a_server_chooses_at_best_is_judged(version: Fact, cipher: Fact, weak: bool) -> None:
    place = served((make_certificate(issuer=INTERMEDIATE),), facts={"tls_version": version, "cipher": cipher})
    assert bool(problems("weak-protocol", place)) is weak


def test_a_location_without_owner_is_told_where_that_is_wanted() -> None:
    place = lasting(90)
    assert problems("unowned", place) == []
    assert problems("unowned", place, enabled=True) == ["ticket"]


def close_primes() -> rsa.RSAPublicKey:
    """A modulus that Fermat's method takes apart at once: two neighbouring primes of 1,024 bits."""
    # Found by a search from 2**1023 + 2**512 upwards.
    base = (1 << 1023) + (1 << 512)
    found: list[int] = []
    candidate = base | 1
    while len(found) < 2:
        if _is_prime(candidate):
            found.append(candidate)
        candidate += 2
    first, second = found
    return rsa.RSAPublicNumbers(65537, first * second).public_key()


def _is_prime(number: int) -> bool:
    if any(number % small == 0 for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    return pow(2, number - 1, number) == 1


def test_a_key_of_two_close_primes_is_a_page() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.com")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(INTERMEDIATE.certificate.subject)
        .public_key(close_primes())
        .serial_number(7)
        .not_valid_before(EPOCH)
        .not_valid_after(EPOCH + 90 * DAY)
        .sign(INTERMEDIATE.key, hashes.SHA256())
    )
    place = served((signed.public_bytes(Encoding.DER), INTERMEDIATE))
    assert problems("key-broken", place) == ["page"]
    assert problems("key-broken", lasting(90, key_kind="rsa")) == []


def test_keys_for_the_age_of_quantum_computers_are_reported_where_that_is_wanted() -> None:
    long = served((make_certificate(issuer=INTERMEDIATE, not_after=EPOCH + 3650 * DAY), INTERMEDIATE))
    assert problems("quantum-vulnerable", long) == []
    assert problems("quantum-vulnerable", long, enabled=True) == ["info", "info"]
    assert problems("quantum-vulnerable", lasting(90), enabled=True) == ["info"]
