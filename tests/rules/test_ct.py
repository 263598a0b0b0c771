"""What logs show, held against what is known."""

import json
from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.finding import Problem
from certwatch.model.location import Location, LocationURI
from certwatch.model.mark import Mark, MarkID, MarkKind, Marks
from certwatch.model.neighbour import Sharer, Twin
from certwatch.model.observation import LookError
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.serving import served

CA = make_ca("Good CA", key_number=140)
LEAF = make_certificate(issuer=CA)
ENTRY = LocationURI("ct://log.example/2027/77")
LOG = LocationURI("ct-log://log.example/2027")
FACTS: dict[str, Any] = {
    "ct_log": "Example 2027",
    "ct_operator": "Example",
    "ct_index": 77,
    "ct_entry": "precertificate",
    "ct_logged_at": "2026-11-01T12:00:00Z",
    "ct_matches": ".example.com (dns www.example.com)",
    "ct_issuer_key": "ab" * 32,
}
LATER = EPOCH + timedelta(hours=2)


def twin(uri: str, id: int = 99, *, live: bool = True) -> Twin:
    return Twin(location_id=id, location=Location(uri=LocationURI(uri)), is_live=live)


def sharer(uri: str = "tls://192.0.2.1:443/") -> Sharer:
    return Sharer(
        location_id=3, location=Location(uri=LocationURI(uri)), owner="", certificate=read(LEAF.der)
    )


def marks(kind: MarkKind, about: Issued) -> Marks:
    return Marks(
        [Mark(id=MarkID(1), kind=kind, certificate=read(about.der), author="a", reason="r", created_at=EPOCH)]
    )


def said(
    rule: str,
    uri: LocationURI = ENTRY,
    *,
    chain: Any = (LEAF,),
    now: Any = LATER,
    config: Any = None,
    facts: Any = FACTS,
    place: Any = None,
    **world: Any,
) -> list[Problem | Until]:
    loaded = registry.load("rules", rule)
    place = served(chain, uri=uri, facts=facts, **(place or {}))
    assert loaded.concerns(place)
    return list(loaded.evaluate(place, loaded.Config(**(config or {})), World(now=now, **world)))


def problems(*args: Any, **fields: Any) -> list[Problem]:
    return [each for each in said(*args, **fields) if isinstance(each, Problem)]


def test_a_certificate_that_is_known_from_nowhere_is_a_page_after_the_grace() -> None:
    assert problems("ct-unexpected", now=EPOCH) == []
    assert Until(instant=EPOCH + timedelta(hours=1)) in said("ct-unexpected", now=EPOCH)
    (problem,) = problems("ct-unexpected")
    assert problem.severity == "page"
    assert "www.example.com" in problem.summary
    assert "Good CA" in problem.summary
    for each in ("Example 2027", "entry 77", "certwatch ct evidence ct://log.example/2027/77", "ab" * 32):
        assert each in problem.text


@pytest.mark.parametrize(
    "place", ["tls://192.0.2.1:443/", "file:///etc/ssl/a.pem", "cadb://corp/1", "acme://certbot/www"]
)
def test_one_that_is_known_from_elsewhere_is_expected(place: str) -> None:
    assert problems("ct-unexpected", twins=[twin(place)]) == []
    assert problems("ct-unexpected", twins=[twin(place, live=False)]) == []


def test_one_that_was_authorised_is_expected_by_issuance_or_by_key() -> None:
    same_key = make_certificate(issuer=CA, serial_number=9)
    other = make_certificate(issuer=CA, key_number=55)
    assert problems("ct-unexpected", marks=marks("authorised", LEAF)) == []
    assert problems("ct-unexpected", marks=marks("authorised-key", same_key)) == []
    assert problems("ct-unexpected", marks=marks("authorised", same_key))
    assert problems("ct-unexpected", marks=marks("authorised-key", other))


def test_one_with_a_key_in_use_is_a_renewal_unless_the_key_is_all_that_is_watched_in_it() -> None:
    assert problems("ct-unexpected", sharers=[sharer()]) == []
    by_key = FACTS | {"ct_matches": f"{'cd' * 32} (key)"}
    assert problems("ct-unexpected", sharers=[sharer()], facts=by_key)


def test_policy_says_at_once_which_issuers_are_expected() -> None:
    assert problems("ct-unexpected", config={"issuers": ["good ca"]}, now=LATER) == []
    assert problems("ct-unexpected", config={"issuers": ["sha256:" + "AB" * 32]}, now=LATER) == []
    assert problems("ct-unexpected", config={"issuers": ["Another CA"]}, now=EPOCH)


ACCOUNT = "https://acme.example/acct/1"


def test_what_caa_records_forbid_is_told_at_once_whoever_the_issuer_is() -> None:
    forbidden = FACTS | {"ct_caa": "forbidden", "ct_caa_text": "the CAA records of example.com allow nobody"}
    (problem,) = problems("ct-unexpected", now=EPOCH, facts=forbidden)
    assert "allow nobody" in problem.text
    assert problems("ct-unexpected", now=EPOCH, facts=forbidden, config={"issuers": ["good ca"]})
    # What is known here is the rule caa-mismatch's.
    assert problems("ct-unexpected", facts=forbidden, twins=[twin("file:///etc/ssl/a.pem")]) == []


def test_one_that_caa_records_bind_to_our_account_is_expected() -> None:
    ours = {"accounts": [ACCOUNT, "https://acme.example/acct/2"]}
    bound = FACTS | {"ct_caa": "bound", "ct_caa_accounts": ACCOUNT}
    assert problems("ct-unexpected", facts=bound, config=ours) == []
    (problem,) = problems("ct-unexpected", facts=bound)
    assert ACCOUNT in problem.text
    another = bound | {"ct_caa_accounts": f"{ACCOUNT} https://acme.example/acct/3"}
    assert problems("ct-unexpected", facts=another, config=ours)
    for standing in ("allowed", "open"):
        assert problems("ct-unexpected", facts=FACTS | {"ct_caa": standing}, config=ours)


def test_all_entries_of_one_issuance_are_one_finding() -> None:
    first = twin("ct://other.example/3", id=0)
    assert problems("ct-unexpected", twins=[first]) == []
    assert problems("ct-unexpected", twins=[twin("ct://other.example/3", id=0, live=False)])
    (problem,) = problems("ct-unexpected", twins=[twin("ct://other.example/3", id=5000)])
    assert "1 more entries" in problem.text


def test_what_others_know_of_the_past_is_judged_alike_and_proves_nothing() -> None:
    place = LocationURI("ct-search://crt.sh/4711")
    facts = {"ct_log": "crt.sh", "ct_index": 4711, "ct_entry": "certificate", "ct_matches": ".example.com"}
    (problem,) = problems("ct-unexpected", uri=place, facts=facts)
    assert "crt.sh has it as 4711, a certificate" in problem.text
    assert "proves nothing" in problem.text
    assert "ct evidence" not in problem.text
    assert problems("ct-unexpected", uri=place, facts=facts, twins=[twin("file:///etc/ssl/a.pem")]) == []
    # That others know of it as well makes it no more expected; one finding is enough.
    assert problems("ct-unexpected", twins=[twin(place)])
    assert problems("ct-unexpected", twins=[twin(place, id=0)]) == []


def test_an_expired_one_is_nobodys_matter() -> None:
    expired = make_certificate(issuer=CA, not_after=EPOCH)
    assert problems("ct-unexpected", chain=[expired]) == []


def test_a_log_that_misbehaves_is_a_page_with_both_heads() -> None:
    heads = [
        {"tree_size": size, "timestamp": 1, "sha256_root_hash": root, "tree_head_signature": ""}
        for size, root in ((700, "AAAA"), (600, "BBBB"))
    ]
    faults = [
        {
            "kind": "rollback",
            "at": "2026-11-01T12:00:00Z",
            "detail": "fewer entries",
            "heads": heads,
            "proof": [],
        }
    ]
    (problem,) = problems(
        "ct-log-misbehaves", LOG, chain=(), facts={"ct_log": "Example", "ct_faults": json.dumps(faults)}
    )
    assert problem.severity == "page"
    assert "rollback" in problem.summary
    assert "AAAA" in problem.text
    assert "BBBB" in problem.text
    for nothing in ({}, {"ct_faults": "[]"}, {"ct_faults": "{"}, {"ct_faults": "[7]"}):
        assert problems("ct-log-misbehaves", LOG, chain=(), facts={"ct_log": "x", **nothing}) == []


def test_a_log_that_is_not_kept_up_with_is_told_with_the_numbers() -> None:
    facts = {
        "ct_read_at": "2026-11-01T12:00:00Z",
        "ct_size": 5,
        "ct_head_size": 9,
        "ct_slow": "it grows by 44 entries a second and gives 3",
    }
    assert said("ct-log-behind", LOG, chain=(), facts=facts, now=LATER) == [
        Until(instant=EPOCH + timedelta(hours=6))
    ]
    (problem,) = problems("ct-log-behind", LOG, chain=(), facts=facts, now=EPOCH + timedelta(hours=7))
    assert "44 entries a second" in problem.text
    assert (
        problems(
            "ct-log-behind", LOG, chain=(), facts=facts | {"ct_finished": True}, now=EPOCH + timedelta(days=7)
        )
        == []
    )


def test_a_log_that_cannot_be_read_for_a_day_is_a_ticket() -> None:
    failing = {"error": LookError(kind="timeout", message="log.example: no answer"), "failing_since": EPOCH}
    assert problems("ct-log-unread", LOG, chain=(), facts={"ct_log": "x"}, place=failing, now=LATER) == []
    (problem,) = problems(
        "ct-log-unread", LOG, chain=(), facts={"ct_log": "x"}, place=failing, now=EPOCH + timedelta(days=1)
    )
    assert "no answer" in problem.text


def test_one_that_is_known_and_was_never_served_is_told() -> None:
    week = EPOCH + timedelta(days=8)
    assert problems("ct-never-deployed", now=week) == []  # unknown: that is graver
    assert len(problems("ct-never-deployed", now=week, twins=[twin("cadb://corp/1")])) == 1
    assert problems("ct-never-deployed", now=LATER, twins=[twin("cadb://corp/1")]) == []
    both = [twin("cadb://corp/1"), twin("tls://192.0.2.1:443/", live=False)]
    assert problems("ct-never-deployed", now=week, twins=both) == []
    assert len(problems("ct-never-deployed", now=week, marks=marks("authorised", LEAF))) == 1


def test_timestamps_that_browsers_miss_or_logs_do_not_keep_are_tickets() -> None:
    place = LocationURI("sct://" + "ab" * 32)
    facts = {
        "certificate": "ab",
        "certificate_name": "www.example.com",
        "certificate_location": "tls://a:443/",
        "sct_count": 1,
        "sct_valid": 1,
        "sct_logs": "A",
    }
    assert problems("ct-timestamps", place, chain=(), facts=facts) == []
    (problem,) = problems("ct-timestamps", place, chain=(), facts=facts | {"sct_fault": "1 of 2"})
    assert "www.example.com" in problem.summary
    (problem,) = problems("ct-unlogged", place, chain=(), facts=facts | {"sct_unlogged": "Example 2027"})
    assert "Example 2027" in problem.summary
