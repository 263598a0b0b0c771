"""Who answers for a location: its labels, then the rules in order."""

from dataclasses import replace

from certwatch.expressions import compile
from certwatch.expressions.owners import OwnerRule, owner_of, pages_of
from certwatch.model.location import Location, LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.x509.der import read

RULES = (
    OwnerRule(team="payments", when=compile('location.labels.namespace == "payments"', scope="owner")),
    OwnerRule(team="web", when=compile('cert.names.exists(n, n.endsWith(".example.com"))', scope="owner")),
    OwnerRule(team="last", when=compile("true", scope="owner")),
)


def served(**labels: str) -> Served:
    return Served(
        id=7,
        location=Location(uri=LocationURI("tls://192.0.2.7:443/"), labels=labels),
        collectors=("edge",),
        chain=(read(make_certificate().der),),
        facts={},
        error=None,
        failing_since=None,
        first_seen=EPOCH,
        last_seen=EPOCH,
        last_served=EPOCH,
        retired_at=None,
    )


def test_the_first_rule_that_holds_names_the_team() -> None:
    assert owner_of(served(namespace="payments"), RULES) == "payments"
    assert owner_of(served(namespace="other"), RULES) == "web"
    assert owner_of(served(), RULES) == "web"


def test_a_rule_about_the_certificate_does_not_hold_where_none_was_seen() -> None:
    assert owner_of(replace(served(), chain=()), RULES) == "last"


def test_the_locations_own_label_goes_before_rules() -> None:
    assert owner_of(served(owner="edge-team", team="other", namespace="payments"), RULES) == "edge-team"
    assert owner_of(served(team="other", namespace="payments"), RULES) == "other"
    assert owner_of(served(owner="", namespace="payments"), RULES) == "payments"


def test_without_rules_nobody_answers() -> None:
    assert owner_of(served(), ()) == ""


def test_who_is_paged_for_a_team_is_what_its_first_rule_that_says_so_says() -> None:
    always = compile("true", scope="owner")
    rules = (
        OwnerRule(team="web", when=always),
        OwnerRule(team="web", when=always, page="web-oncall"),
        OwnerRule(team="web", when=always, page="others"),
        OwnerRule(team="lab", when=always),
    )
    assert pages_of(rules) == {"web": "web-oncall"}
