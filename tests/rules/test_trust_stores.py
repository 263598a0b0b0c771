"""Trust stores that nobody keeps, held against those that are configured."""

from collections.abc import Sequence
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.location import file_location
from certwatch.pki.trust import TrustStore
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, Issued, make_ca
from certwatch.x509.der import read
from tests.support.serving import served

DAY = timedelta(days=1)
ROOTS = [make_ca(f"Root {n}", key_number=400 + n) for n in range(6)]
CORP = [make_ca(f"Corp G{n}", key_number=410 + n) for n in (1, 2)]


def store(name: str, roots: Sequence[Issued], *, public: bool = False) -> TrustStore:
    return TrustStore.from_certificates(name, [read(each.der) for each in roots], public=public)


def said(anchors: Sequence[Issued], *stores: TrustStore) -> list[Problem | Until]:
    rule = registry.load("rules", "trust-store-stale")
    place = served(anchors, facts={"arrangement": "bundle"}, uri=file_location("/app/cacert.pem"))
    world = World(now=EPOCH, trust={each.name: each for each in stores})
    return list(rule.evaluate(place, rule.Config(), world))


def summaries(anchors: Sequence[Issued], *stores: TrustStore) -> list[str]:
    return [each.summary for each in said(anchors, *stores) if isinstance(each, Problem)]


def stale(roots: int, what: str) -> list[str]:
    return [f"Trust store of {roots} roots is stale ({what}): file:///app/cacert.pem"]


def test_expired_roots_are_told_with_their_names_and_when_the_next_one_ends() -> None:
    roots = [
        make_ca(f"Root {n}", not_after=EPOCH + days * DAY, key_number=420 + n)
        for n, days in enumerate((-3, -2, 5, 400))
    ]
    found = said(roots)
    assert summaries(roots) == stale(4, "2 expired")
    assert Until(instant=EPOCH + 5 * DAY + timedelta(seconds=1)) in found
    assert said(roots[:1]) == []
    rule = registry.load("rules", "trust-store-stale")
    assert list(rule.evaluate(served(roots), rule.Config(), World(now=EPOCH))) == []


def test_a_copy_of_the_public_store_is_held_against_it() -> None:
    system = store("public", ROOTS, public=True)
    assert summaries(ROOTS, system) == []
    assert summaries(ROOTS[:5], system) == stale(5, "without 1 of public")
    gone = make_ca("Distrusted Root", key_number=430)
    assert summaries([*ROOTS, gone], system) == stale(7, "1 that public does not have")
    # A root of one's own beside the public ones is no fault, if it is known.
    assert summaries([*ROOTS, CORP[0]], system, store("corp", CORP[:1])) == []


def test_a_store_with_the_old_root_and_without_the_new_one_is_found_before_it_matters() -> None:
    corp = store("corp", CORP)
    system = store("public", ROOTS, public=True)
    assert summaries([*ROOTS, CORP[0]], system, corp) == stale(7, "without 1 of corp")
    assert summaries([*ROOTS, *CORP], system, corp) == []


def test_what_is_no_copy_of_a_store_is_not_held_against_it() -> None:
    system = store("public", ROOTS, public=True)
    assert summaries(ROOTS[:2], system) == []
    assert summaries(CORP, system) == []
    ended = make_ca("Ended Root", key_number=440, not_after=EPOCH - DAY)
    assert summaries(ROOTS, store("public", [*ROOTS, ended], public=True)) == []


def test_the_likest_public_store_alone_is_the_measure() -> None:
    system, mozilla = store("public", ROOTS, public=True), store("mozilla", ROOTS[:5], public=True)
    assert summaries(ROOTS[:5], system, mozilla) == []
