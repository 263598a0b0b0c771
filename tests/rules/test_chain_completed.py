"""A chain that is presented without an intermediate which is published where the leaf says."""

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.serving import INTERMEDIATE, ROOT, TRUST, served

URL = "http://ca.example.com/intermediate.crt"


def access(url: str = URL) -> tuple[x509.ExtensionType, bool]:
    uri = x509.UniformResourceIdentifier(url)
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri)]
    ), False


LEAF = make_certificate(issuer=INTERMEDIATE, extensions=[access()])


def found(*chain: Issued, issuers: tuple[Issued, ...] = ()) -> dict[str, str]:
    place = served(chain)
    published: tuple[Certificate, ...] = tuple(read(each.der) for each in issuers)
    world = World(now=EPOCH, trust=TRUST, issuers=published)
    said = {}
    for name in ("chain-incomplete", "chain-untrusted", "chain-signature", "chain-invalid", "chain-order"):
        rule = registry.load("rules", name)
        for each in rule.evaluate(place, rule.Config(), world):
            if isinstance(each, Problem):
                said[name] = f"{each.summary} | {each.text}"
    return said


def test_what_is_missing_is_named_with_where_it_is_and_that_it_would_do() -> None:
    said = found(LEAF, issuers=(INTERMEDIATE,))
    assert set(said) == {"chain-incomplete"}
    assert "www.example.com is presented without CN=Test Intermediate" in said["chain-incomplete"]
    assert URL in said["chain-incomplete"]
    assert "leads to a trust store (corp)" in said["chain-incomplete"]


def test_a_complete_chain_is_none_the_worse_for_what_is_published() -> None:
    assert found(LEAF, INTERMEDIATE, issuers=(ROOT,)) == {}


def test_with_two_intermediates_missing_both_are_named() -> None:
    lower = make_ca("Lower", issuer=INTERMEDIATE, key_number=130)
    leaf = make_certificate(issuer=lower, extensions=[access()])
    assert (
        "presented without CN=Lower, CN=Test Intermediate"
        in found(leaf, issuers=(lower, INTERMEDIATE))["chain-incomplete"]
    )
    # The lower one presented, the upper one not.
    assert (
        "presented without CN=Test Intermediate"
        in found(leaf, lower, issuers=(INTERMEDIATE,))["chain-incomplete"]
    )


def test_what_leads_nowhere_even_with_its_issuer_lacks_trust_and_not_an_intermediate() -> None:
    strange_root = make_ca("Strange Root", key_number=131)
    strange = make_ca("Strange", issuer=strange_root, key_number=132)
    leaf = make_certificate(issuer=strange, extensions=[access()])
    said = found(leaf, issuers=(strange, strange_root))
    assert set(said) == {"chain-untrusted"}
    assert "leads to CN=Strange Root, which no trust store has" in said["chain-untrusted"]


def test_a_forged_issuer_that_is_published_completes_nothing() -> None:
    forged = make_ca("Test Intermediate", key_number=133)
    said = found(LEAF, issuers=(forged,))
    assert "chain-incomplete" in said or "chain-signature" in said
    assert "leads to a trust store" not in "".join(said.values())


@pytest.mark.parametrize("issuers", [(), (INTERMEDIATE,)])
def test_it_is_looked_at_again_while_something_is_missing(issuers: tuple[Issued, ...]) -> None:
    rule = registry.load("rules", "chain-incomplete")
    world = World(now=EPOCH, trust=TRUST, issuers=tuple(read(each.der) for each in issuers))
    said = list(rule.evaluate(served([LEAF]), rule.Config(), world))
    assert any(isinstance(each, Until) for each in said)
