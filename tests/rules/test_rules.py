"""What each rule says, of chains as real servers and files have them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.finding import Problem
from certwatch.model.location import file_location, tls_location
from certwatch.model.observation import LookError
from certwatch.model.sighting import Served
from certwatch.pki.known_keys import KnownKeys
from certwatch.plugins import registry
from certwatch.plugins.rule import Rule, Until, World
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from tests.support.serving import INTERMEDIATE, ROOT, TRUST, served, world

RULES: dict[str, Rule] = {name: registry.load("rules", name) for name in registry.names("rules")}
LEAF = make_certificate(issuer=INTERMEDIATE)
GOOD = (LEAF, INTERMEDIATE)
FILE = file_location("/etc/ssl/site.pem")


def problems(rule: str, place: Served, now: datetime = EPOCH, /, **config: Any) -> list[Problem]:
    return [each for each in said(rule, place, now, **config) if isinstance(each, Problem)]


def said(rule: str, place: Served, now: datetime = EPOCH, /, **config: Any) -> list[Problem | Until]:
    loaded = RULES[rule]
    return (
        []
        if not loaded.concerns(place)
        else list(loaded.evaluate(place, loaded.Config.model_validate(config), world(now)))
    )


def found(place: Served, now: datetime = EPOCH) -> dict[str, str]:
    """Everything that all rules say: rule to severity."""
    return {rule: each.severity for rule in RULES for each in problems(rule, place, now)}


def leaf_of(days: float, **fields: Any) -> Issued:
    return make_certificate(
        issuer=INTERMEDIATE, not_before=EPOCH, not_after=EPOCH + timedelta(days=days), key_number=3, **fields
    )


def test_a_good_chain_has_nothing_to_be_said_of() -> None:
    assert found(served(GOOD)) == {}


@pytest.mark.parametrize(
    ("days", "ticket_hours", "page_hours"),
    [(1, 10, 2), (6, 60, 12), (10, 60, 20), (47, 282, 48), (90, 540, 48), (398, 720, 48), (3650, 720, 48)],
)
def test_the_leads_follow_the_lifetime(days: int, ticket_hours: float, page_hours: float) -> None:
    place = served((leaf_of(days), INTERMEDIATE))
    end = EPOCH + timedelta(days=days)
    second = timedelta(seconds=1)

    leaf = place.chain[0].fingerprint_sha256

    def severity(now: datetime) -> list[str]:
        return [each.severity for each in problems("expiry", place, now) if each.fingerprint == leaf]

    assert severity(end - timedelta(hours=ticket_hours) - second) == []
    assert severity(end - timedelta(hours=ticket_hours)) == ["ticket"]
    assert severity(end - timedelta(hours=page_hours) - second) == ["ticket"]
    assert severity(end - timedelta(hours=page_hours)) == ["page"]


def test_the_last_second_is_still_valid_and_the_next_is_not() -> None:
    place = served((leaf_of(90), INTERMEDIATE))
    end = EPOCH + timedelta(days=90)
    assert "expires at" in problems("expiry", place, end)[0].summary
    assert "expired at" in problems("expiry", place, end + timedelta(seconds=1))[0].summary


def test_an_expired_certificate_stays_a_page_for_ever() -> None:
    (problem,) = problems("expiry", served((leaf_of(90), INTERMEDIATE)), EPOCH + timedelta(days=900))
    assert problem.severity == "page"


def test_a_certificate_that_renews_in_time_is_never_mentioned() -> None:
    """Renewed with a third of its life left (half, below ten days): what an ACME client does."""
    for days in (1, 6, 9, 10, 47, 64, 90, 200, 398):
        left = timedelta(days=days) / (2 if days < 10 else 3)
        place = served((leaf_of(days), INTERMEDIATE))
        assert problems("expiry", place, EPOCH + timedelta(days=days) - left) == [], days


def test_an_intermediate_that_clients_need_pages_as_the_leaf_does() -> None:
    dying = make_ca("Dying", issuer=ROOT, key_number=110, not_after=EPOCH + timedelta(hours=10))
    leaf = make_certificate(issuer=dying, not_after=EPOCH + timedelta(days=60))
    (problem,) = problems("expiry", served((leaf, dying)))
    assert problem.severity == "page"
    assert "certificate 2 of the chain" in problem.summary


def test_an_expired_member_of_the_chain_that_nobody_needs_never_pages() -> None:
    """May 2020: AddTrust's cross-sign expired, and monitors paged for chains that every client still accepted."""
    cross = make_ca(
        "Test Root", issuer=make_ca("Old", key_number=120), key_number=100, not_after=EPOCH - timedelta(1)
    )
    old = found(served((LEAF, INTERMEDIATE, cross)))
    assert old == {"chain-superfluous": "ticket"}


def test_an_expired_certificate_in_a_file_is_work_for_the_day() -> None:
    (problem,) = problems("expiry", served((leaf_of(90),), uri=FILE), EPOCH + timedelta(days=91))
    assert problem.severity == "ticket"


def test_cas_in_a_trust_store_are_left_alone_and_its_leaves_are_not() -> None:
    old = make_ca("Old root", key_number=121, not_after=EPOCH - timedelta(days=1))
    bundle = {"arrangement": "bundle"}
    # The store is told as what it is; the root in it has no expiry of its own.
    assert found(served((old, ROOT), uri=FILE, facts=bundle)) == {"trust-store-stale": "info"}
    gone = make_certificate(not_after=EPOCH - timedelta(days=1), issuer=ROOT)
    assert found(served((ROOT, gone), uri=FILE, facts=bundle)) == {"expiry": "ticket"}


def test_the_last_known_certificate_counts_while_looks_fail() -> None:
    failing: dict[str, Any] = {"error": LookError(kind="timeout", message="x"), "failing_since": EPOCH}
    place = served((leaf_of(90), INTERMEDIATE), **failing)
    assert [each.severity for each in problems("expiry", place, EPOCH + timedelta(days=89))] == ["page"]


def test_a_certificate_before_its_time_is_told_until_it_comes() -> None:
    start = EPOCH + timedelta(hours=1)
    place = served((make_certificate(issuer=INTERMEDIATE, not_before=start), INTERMEDIATE))
    assert found(place) == {"not-yet-valid": "page"}
    assert found(place, start) == {}
    # A CA whose clock is some seconds ahead wakes nobody: it is over before anybody has looked.
    assert found(place, start - timedelta(seconds=61)) == {"not-yet-valid": "page"}
    assert found(place, start - timedelta(seconds=60)) == {}
    assert Until(instant=start) in said("not-yet-valid", place, start - timedelta(seconds=60))


@pytest.mark.parametrize(
    ("names", "wanted", "matches"),
    [
        (["dns:www.example.com"], "www.example.com", True),
        (["dns:*.example.com"], "www.example.com", True),
        (["dns:*.example.com"], "a.b.example.com", False),
        (["dns:*.example.com"], "example.com", False),
        (["dns:example.com"], "www.example.com", False),
        (["ip:192.0.2.1"], "192.0.2.1", True),
        (["dns:www.example.com.evil.io"], "www.example.com", False),
        (["dns:xn--bcher-kva.example"], "xn--bcher-kva.example", True),
    ],
)
def test_names_match_as_clients_match_them(names: Sequence[str], wanted: str, matches: bool) -> None:
    place = served(
        (make_certificate(issuer=INTERMEDIATE, names=names), INTERMEDIATE),
        uri=tls_location("192.0.2.1", 443, server_name=wanted),
    )
    assert (problems("name-mismatch", place) == []) is matches


def test_an_endpoint_given_by_address_alone_is_not_asked_for_a_name() -> None:
    assert problems("name-mismatch", served(GOOD, uri=tls_location("192.0.2.1", 443))) == []


def test_a_name_in_the_common_name_only_is_not_enough() -> None:
    leaf = make_certificate(issuer=INTERMEDIATE, names=(), subject="www.example.com")
    (problem,) = problems("name-mismatch", served((leaf, INTERMEDIATE)))
    assert "common name only" in problem.summary


def test_unreadable_names_are_not_called_a_mismatch() -> None:
    broken = LEAF.der
    start = broken.index(bytes.fromhex("0603551d11")) + 5
    broken = broken[: start + 2] + b"\x31" + broken[start + 3 :]
    (problem,) = problems("name-mismatch", served((broken, INTERMEDIATE)))
    assert problem.severity == "info"


def test_each_fault_of_a_chain_is_said_once_and_alone() -> None:
    alone = make_certificate()
    other = make_ca("Nobody's root", key_number=130)
    theirs = make_certificate(issuer=make_ca("Nobody's", issuer=other, key_number=131))
    same_name = make_ca("Test Intermediate", issuer=ROOT, key_number=140, extensions=())
    stranger = make_certificate(issuer=INTERMEDIATE, key_number=5)
    nobodys = make_ca("Nobody's", issuer=other, key_number=131)
    assert found(served((alone,))) == {"self-signed": "ticket"}
    assert found(served((LEAF,))) == {"chain-incomplete": "ticket"}
    assert found(served((theirs, nobodys))) == {"chain-untrusted": "ticket"}
    assert found(served((theirs, nobodys, other))) == {"chain-untrusted": "ticket"}
    assert found(served((LEAF, ROOT, INTERMEDIATE))) == {"chain-order": "ticket"}
    assert found(served((LEAF, INTERMEDIATE, stranger))) == {"chain-superfluous": "info"}
    assert found(served((LEAF, INTERMEDIATE, ROOT))) == {}
    # An issuer of the right name with another key is as good as none.
    assert found(served((LEAF, same_name))) == {"chain-incomplete": "ticket", "chain-superfluous": "info"}


def test_a_signature_that_does_not_verify_is_a_page() -> None:
    forged = bytearray(LEAF.der)
    forged[-6] ^= 1
    assert found(served((bytes(forged), INTERMEDIATE))) == {"chain-signature": "page"}


def test_a_certificate_file_without_its_chain_is_normal() -> None:
    assert found(served((LEAF,), uri=FILE)) == {}


def test_a_self_signed_one_that_is_in_a_trust_store_is_trusted() -> None:
    assert "self-signed" not in found(served((ROOT,), uri=tls_location("192.0.2.1", 443)))


def test_two_intermediates_of_one_name_the_one_that_signed_counts() -> None:
    namesake = make_ca("Test Intermediate", issuer=ROOT, key_number=141)
    assert found(served((LEAF, namesake, INTERMEDIATE))) == {
        "chain-order": "ticket",
        "chain-superfluous": "info",
    }


def test_a_key_of_another_certificate_is_told() -> None:
    assert found(served((LEAF,), uri=FILE, facts={"key_match": False})) == {"key-mismatch": "ticket"}
    assert found(served((LEAF,), uri=FILE, facts={"key_match": True})) == {}


def test_weak_keys_and_signatures_are_told() -> None:
    weak = make_certificate(issuer=INTERMEDIATE, key_kind="rsa1024")
    assert found(served((weak, INTERMEDIATE))) == {"weak-key": "ticket"}
    strong = make_certificate(issuer=INTERMEDIATE, hash_algorithm=hashes.SHA384())
    assert found(served((strong, INTERMEDIATE))) == {}


def test_a_sha1_signature_is_told() -> None:
    """The algorithm is written into the bytes, in both places: no library signs with SHA-1 any more."""
    rsa = make_certificate(issuer=make_ca("RSA", issuer=ROOT, key_kind="rsa", key_number=150))
    raw = rsa.der.replace(bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105"))
    assert [each.severity for each in problems("weak-signature", served((raw,)))] == ["ticket"]


def test_what_cannot_be_read_is_told_once() -> None:
    assert found(served((LEAF.der + b"junk", INTERMEDIATE)))["unreadable"] == "ticket"


def test_an_endpoint_that_stops_answering_gets_a_ticket_after_a_while_and_one_that_never_did_none() -> None:
    failing: dict[str, Any] = {
        "error": LookError(kind="refused", message="192.0.2.1:443: refused"),
        "failing_since": EPOCH,
    }
    assert problems("unreachable", served(GOOD, **failing), EPOCH + timedelta(minutes=14)) == []
    (later,) = problems("unreachable", served(GOOD, **failing), EPOCH + timedelta(minutes=15))
    assert later.severity == "ticket"
    (never,) = problems("unreachable", served((), **failing))
    assert never.severity == "info"


@pytest.mark.parametrize("rule", RULES)
def test_summaries_are_one_line_and_texts_say_what_to_do(rule: str) -> None:
    loaded = RULES[rule]
    assert loaded.id == rule
    assert loaded.title
    assert loaded.fix
    assert loaded.source
    assert issubclass(loaded.Config, registry.load("rules", "expiry").Config.__mro__[1])


MUTANT = make_certificate(
    issuer=INTERMEDIATE, extensions=[(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), False)]
).der


@given(
    flips=st.lists(st.tuples(st.integers(0, len(MUTANT) - 1), st.integers(0, 255)), max_size=6),
    hours=st.integers(-3000, 3000),
    name=st.sampled_from(["www.example.com", None]),
    arrangement=st.sampled_from([{}, {"arrangement": "bundle"}, {"key_match": False}]),
)
def test_no_certificate_makes_a_rule_raise_and_until_is_always_ahead(
    flips: list[tuple[int, int]], hours: int, name: str | None, arrangement: dict[str, Any]
) -> None:
    raw = bytearray(MUTANT)
    for index, value in flips:
        raw[index] = value
    place = served(
        (bytes(raw), INTERMEDIATE), uri=tls_location("192.0.2.1", 443, server_name=name), facts=arrangement
    )
    now = EPOCH + timedelta(hours=hours)
    for rule in RULES:
        fingerprints = []
        for each in said(rule, place, now):
            if isinstance(each, Until):
                assert each.instant > now
            else:
                fingerprints.append(each.fingerprint)
                assert "\n" not in each.summary
        assert len(fingerprints) == len(set(fingerprints)), rule


@given(days=st.sampled_from([1, 6, 47, 90, 398]), at=st.floats(0, 1.2), step=st.floats(0, 1))
def test_between_now_and_until_the_answer_does_not_change(days: int, at: float, step: float) -> None:
    place = served((leaf_of(days), INTERMEDIATE))
    now = EPOCH + timedelta(days=days) * at
    for rule in RULES:
        instants = [each.instant for each in said(rule, place, now) if isinstance(each, Until)]
        if instants:
            later = now + (min(instants) - now - timedelta(microseconds=1)) * step
            assert problems(rule, place, now) == problems(rule, place, max(now, later)), rule


def test_a_world_without_trust_stores_judges_all_the_same() -> None:
    for rule in RULES.values():
        list(rule.evaluate(served(GOOD), rule.Config(), World(now=EPOCH)))
    assert TRUST


def test_a_certificate_without_end_neither_expires_nor_breaks_a_rule() -> None:
    """99991231235959Z says that there is none (RFC 5280, 4.1.2.5); one second later is past the calendar."""
    endless = make_certificate(issuer=INTERMEDIATE, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    unneeded = make_ca("Other", key_number=120, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert found(served((endless, INTERMEDIATE))) == {"ca-horizon": "ticket"}  # it outlives its issuer
    assert set(found(served((LEAF, INTERMEDIATE, unneeded)))) == {"chain-superfluous"}


def test_a_signature_that_cannot_be_verified_is_one_ticket_and_no_trust() -> None:
    der = make_certificate(issuer=ROOT).der.replace(
        bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f")
    )
    assert found(served((der,))) == {"chain-signature": "ticket"}


def test_a_chain_that_clients_refuse_though_its_signatures_are_good_is_a_page() -> None:
    limits = x509.NameConstraints([x509.DNSName("corp.example")], None)
    ca = make_ca("Limited", issuer=ROOT, key_number=121, extensions=[(limits, True)])
    place = served((make_certificate(issuer=ca), ca))
    assert found(place) == {"chain-invalid": "page"}
    (problem,) = problems("chain-invalid", place)
    assert problem.summary == (
        "www.example.com: its chain is refused, www.example.com has a name that a CA above it does not permit"
    )
    assert found(served((make_certificate(issuer=ca), ca), uri=FILE)) == {"chain-invalid": "ticket"}


def test_a_root_that_expires_in_the_trust_store_is_found_at_its_hour() -> None:
    end = EPOCH + timedelta(days=3650)
    ca = make_ca("Long", issuer=ROOT, key_number=123, not_after=end + timedelta(days=900))
    leaf = make_certificate(
        issuer=ca, not_before=end - timedelta(days=9), not_after=end + timedelta(days=300)
    )
    place = served((leaf, ca))
    assert Until(instant=end + timedelta(seconds=1)) in said("chain-invalid", place, end - timedelta(days=1))
    assert found(place, end) == {}
    (problem,) = problems("chain-invalid", place, end + timedelta(seconds=1))
    assert problem.severity == "page"
    assert problem.summary.endswith("its chain is refused, CN=Test Root has expired")


def test_an_expired_cross_sign_is_no_page_where_another_way_holds() -> None:
    old = make_ca("Old Root", key_number=122, not_after=EPOCH - timedelta(days=1))
    crossed = make_ca("Test Root", issuer=old, key_number=100, not_after=EPOCH - timedelta(days=1))
    assert found(served((LEAF, INTERMEDIATE, crossed))) == {"chain-superfluous": "ticket"}


def test_a_key_on_a_list_of_known_keys_pages() -> None:
    rule = registry.load("rules", "key-broken")
    place = served((LEAF, INTERMEDIATE))
    listed = place.chain[0].spki_sha256
    assert listed is not None
    known = KnownKeys(spki={listed: "debianssl"})
    (said,) = rule.evaluate(place, rule.Config(), replace(world(), known_keys=known))
    assert isinstance(said, Problem)
    assert said.severity == "page"
    assert "debianssl" in said.text
    nothing = replace(world(), known_keys=KnownKeys(spki={b"x" * 32: "debianssl"}))
    assert list(rule.evaluate(place, rule.Config(), nothing)) == []
