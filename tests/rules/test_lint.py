"""What a linter found, told of what concerns whoever reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Problem
from certwatch.model.lint import Lint
from certwatch.model.location import LocationURI
from certwatch.model.sighting import Served
from certwatch.pki.trust import TrustStore
from certwatch.plugins import registry
from certwatch.plugins.rule import World
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.x509.der import read
from tests.support.serving import INTERMEDIATE, ROOT, TRUST, served

LEAF = make_certificate(issuer=INTERMEDIATE)
PLACE = served([LEAF, INTERMEDIATE])
PUBLIC = {"public": TrustStore.from_certificates("public", [read(ROOT.der)], public=True)}
FORMAT = Lint(profile="rfc5280", severity="error", code="pkix.wrong", message="so wrong")
BASELINE = Lint(profile="cabf-tls", severity="error", code="cabf.wrong", message="")
SHOULD = Lint(profile="rfc5280", severity="warning", code="pkix.unwise", message="")
LEAF_ID, CA_ID = (each.fingerprint_sha256 for each in PLACE.chain)


def said(
    lints: Mapping[Fingerprint, Sequence[Lint]], place: Served = PLACE, trust: Any = TRUST, **config: Any
) -> list[Problem]:
    rule = registry.load("rules", "lint")
    world = World(now=EPOCH, trust=trust, lints=lints)
    return [each for each in rule.evaluate(place, rule.Config(**config), world) if isinstance(each, Problem)]


def test_a_broken_must_of_the_format_is_told_with_what_the_linter_says() -> None:
    (problem,) = said({LEAF_ID: (FORMAT,)})
    assert (problem.severity, problem.fingerprint) == ("info", LEAF_ID)
    assert problem.summary == "www.example.com breaks RFC 5280: pkix.wrong"
    assert "so wrong" in problem.text


def test_the_baseline_concerns_only_what_browsers_trust() -> None:
    assert said({LEAF_ID: (BASELINE,)}) == []
    (problem,) = said({LEAF_ID: (BASELINE, FORMAT)}, trust=PUBLIC)
    assert (
        problem.summary
        == "www.example.com breaks RFC 5280 and the Baseline Requirements: cabf.wrong, pkix.wrong"
    )


def test_ones_own_ca_is_told_and_a_public_one_is_not() -> None:
    assert [each.fingerprint for each in said({CA_ID: (FORMAT,)})] == [CA_ID]
    assert said({CA_ID: (FORMAT,)}, trust=PUBLIC) == []


def test_what_is_told_is_chosen_by_the_settings() -> None:
    assert said({LEAF_ID: (SHOULD,)}) == []
    assert len(said({LEAF_ID: (SHOULD,)}, warnings=True)) == 1
    assert said({LEAF_ID: (FORMAT,)}, ignore=("pkix.wrong",)) == []
    assert [each.severity for each in said({LEAF_ID: (FORMAT,)}, severity="ticket")] == ["ticket"]


def test_a_bundle_has_no_lints() -> None:
    bundle = served([LEAF, INTERMEDIATE], facts={"arrangement": "bundle"})
    assert said({LEAF_ID: (FORMAT,)}, place=bundle) == []


def test_what_a_list_or_an_answer_breaks_is_told_of_the_list_and_the_responder() -> None:
    listed = served(
        (),
        uri=LocationURI("http://crl.example.com/ca.crl"),
        facts={"crl_lints": "pkix.a, pkix.b", "crl_issuer": "CN=CA"},
    )
    (problem,) = said({}, listed)
    assert problem.summary == "CRL of CN=CA breaks RFC 5280: pkix.a, pkix.b"
    assert problem.severity == "info"
    (left,) = said({}, listed, ignore=("pkix.a",))
    assert left.summary.endswith("RFC 5280: pkix.b")
    answered = served(
        (), uri=LocationURI("ocsp://ocsp.example.com/?certificate=00"), facts={"ocsp_lints": "pkix.c"}
    )
    (problem,) = said({}, answered)
    assert problem.summary == "OCSP answer of ocsp://ocsp.example.com/ breaks RFC 6960: pkix.c"
    assert said({}, served((), facts={"crl_lints": ""})) == []
