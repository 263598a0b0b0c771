"""Hosts that are expected, and whether they were seen."""

from datetime import datetime, timedelta
from typing import Any

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.model.neighbour import Endpoint
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH
from rules.expected import RULE
from tests.support.serving import served

PLACE = served(
    (),
    uri=LocationURI("host://www.example.com:443"),
    facts={"expected_host": "www.example.com", "expected_port": 443},
)
HOUR = timedelta(hours=1)


def endpoint(uri: str, *, answered: bool = True) -> Endpoint:
    return Endpoint(location=LocationURI(uri), answered=answered)


def said(
    *endpoints: Endpoint, now: datetime = EPOCH + HOUR, place: Any = PLACE, **config: Any
) -> list[Problem]:
    found = RULE.evaluate(place, RULE.Config(**config), World(now=now, endpoints=endpoints))
    return [each for each in found if isinstance(each, Problem)]


def test_a_host_that_nobody_looks_at_is_a_ticket_after_its_grace() -> None:
    (found,) = said()
    assert found.severity == "ticket"
    assert "No collector looks at it" in found.text
    assert said(now=EPOCH + HOUR - timedelta(seconds=1)) == []
    assert list(RULE.evaluate(PLACE, RULE.Config(), World(now=EPOCH))) == [Until(instant=EPOCH + HOUR)]


def test_one_that_was_seen_at_its_port_is_none() -> None:
    assert said(endpoint("tls://192.0.2.1:443/?sni=www.example.com")) == []
    (found,) = said(endpoint("tls://192.0.2.1:8443/?sni=www.example.com"))
    assert "No collector looks at it" in found.text


def test_one_that_is_looked_at_and_never_answers_is_told_with_the_place() -> None:
    (found,) = said(endpoint("tls://192.0.2.1:443/?sni=www.example.com", answered=False))
    assert "It is looked at (tls://192.0.2.1:443/?sni=www.example.com), and has never answered" in found.text


def test_what_clusters_say_is_expected_only_where_it_is_wanted_and_wildcards_never() -> None:
    facts = {"kubernetes_host": "shop.example.com", "kubernetes_port": 443}
    place = served((), uri=LocationURI("k8s://prod/shop/ingress/web?host=shop.example.com"), facts=facts)
    assert said(place=place) == []
    assert len(said(place=place, clusters=True)) == 1
    wildcard = served((), uri=place.location.uri, facts=facts | {"kubernetes_host": "*.example.com"})
    assert said(place=wildcard, clusters=True) == []
