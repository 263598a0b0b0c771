"""Who is told of a finding, by a condition."""

from dataclasses import replace

from certwatch.expressions import compile
from certwatch.expressions.routes import Route, router
from tests.exporters.test_alertmanager import finding
from tests.expressions.test_owners import served

ROUTES = (
    Route(to="security", when=compile('finding.rule in ["compromised", "key-broken"]', scope="route")),
    Route(
        to="lab",
        when=compile('location.labels.environment == "lab" && finding.severity != "page"', scope="route"),
    ),
    Route(to="rsa", when=compile('cert.key.type == "rsa"', scope="route")),
)


def test_the_first_route_that_holds_is_taken() -> None:
    ask = router(ROUTES)
    place = served(environment="lab")
    assert ask(finding(1, rule="compromised"), place) == "security"
    assert ask(finding(1), place) == "lab"
    assert ask(finding(1, severity="page"), place) == ""
    assert ask(finding(1), served()) == ""


def test_a_place_that_is_not_known_any_more_leaves_what_the_finding_says() -> None:
    ask = router(ROUTES)
    assert ask(finding(1, rule="key-broken"), None) == "security"
    assert ask(finding(1), None) == ""


def test_the_certificate_is_the_one_that_the_finding_is_about() -> None:
    place = served()
    leaf = place.chain[0]
    rsa = replace(leaf, fingerprint_sha256=b"r" * 32, key=replace(leaf.key, type="rsa"))  # type: ignore[arg-type]
    place = replace(place, chain=(leaf, rsa))
    ask = router(ROUTES)
    assert ask(finding(1, fingerprint=rsa.fingerprint_sha256), place) == "rsa"
    assert ask(finding(1, fingerprint=leaf.fingerprint_sha256), place) == ""
