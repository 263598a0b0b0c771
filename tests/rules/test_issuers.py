"""CAs that nobody has chosen, and chains that only OpenSSL takes."""

from typing import Any

import pytest

from certwatch.model.finding import Problem
from certwatch.plugins import registry
from certwatch.plugins.testing import make_ca, make_certificate
from tests.support.serving import INTERMEDIATE, served, world

LEAF = make_certificate(issuer=INTERMEDIATE)


def said(rule: str, *chain: Any, **config: Any) -> list[Problem]:
    loaded = registry.load("rules", rule)
    found = loaded.evaluate(served(chain), loaded.Config(**config), world())
    return [each for each in found if isinstance(each, Problem)]


@pytest.mark.parametrize(
    "expected",
    [(), ("CN=Test Intermediate",), ("*Root*",), ("*nobody*", "CN=Test*")],
)
def test_a_ca_that_is_expected_itself_or_by_one_above_it_says_nothing(expected: tuple[str, ...]) -> None:
    assert said("issuer-unexpected", LEAF, INTERMEDIATE, expected=expected) == []


def test_a_ca_that_nobody_has_chosen_is_told_as_gravely_as_the_config_says() -> None:
    (found,) = said("issuer-unexpected", LEAF, INTERMEDIATE, expected=("CN=Corp*",), severity="page")
    assert found.severity == "page"
    assert "CN=Test Intermediate, which is not among the CAs that may" in found.summary


def test_self_signed_ones_and_cas_are_other_rules_matter() -> None:
    assert said("issuer-unexpected", make_certificate(), expected=("CN=Corp*",)) == []
    assert said("issuer-unexpected", INTERMEDIATE, expected=("CN=Corp*",)) == []


def test_a_second_opinion_is_asked_for_only_where_it_is_wanted_and_the_first_is_good() -> None:
    # Web PKI's profile demands an authority key identifier, which this one lacks, and its CA a key usage.
    assert said("second-opinion", LEAF, INTERMEDIATE) == []
    (found,) = said("second-opinion", LEAF, INTERMEDIATE, enabled=True)
    assert found.severity == "info"
    assert "OpenSSL accepts its chain, and a stricter reader does not" in found.summary
    untrusted = make_ca("Elsewhere", key_number=150)
    stranger = make_certificate(issuer=untrusted)
    assert said("second-opinion", stranger, untrusted, enabled=True) == []
