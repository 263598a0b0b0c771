from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.ca import audit, listing
from certwatch.ca.approvals import Waiting, approve, refuse, requests, submit
from certwatch.ca.enrolment import grant, read
from certwatch.ca.failure import CAError
from certwatch.ca.found import found_intermediate, install
from certwatch.ca.issue import Certified
from certwatch.ca.people import people_of
from tests.support.cas import authority, order

TWO = {"server": {"approvals": 2}}


def test_an_automatic_profile_waits_for_nobody(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        assert isinstance(submit(ca, order(ca, "dns:www.example.com")), Certified)


def test_two_people_who_did_not_ask_make_it(tmp_path: Path) -> None:
    with authority(tmp_path, profiles=TWO) as ca:
        waiting = submit(ca, order(ca, "dns:www.example.com", requester="alice", submitter="bob"))
        assert waiting == Waiting(request=1, needed=2)
        for person in ("alice", "bob"):
            with pytest.raises(CAError, match="asked for it"):
                approve(ca, 1, person)
        assert approve(ca, 1, "carol") == Waiting(request=1, needed=1)
        with pytest.raises(CAError, match="approved it already"):
            approve(ca, 1, "carol")
        [listed] = listing.waiting(ca.settings.directory)
        assert (listed["request"], listed["approved_by"], listed["needed"]) == (1, ["carol"], 2)
        made = approve(ca, 1, "dave")
        assert isinstance(made, Certified)
        assert made.request == 1
        with pytest.raises(CAError, match="is issued"):
            approve(ca, 1, "erin")
        assert audit.verify(ca.settings.directory).wrong == []


def test_one_who_says_no_ends_it(tmp_path: Path) -> None:
    with authority(tmp_path, profiles=TWO) as ca:
        submit(ca, order(ca, "dns:www.example.com"))
        refuse(ca, 1, "carol")
        with pytest.raises(CAError, match="is refused"):
            approve(ca, 1, "dave")
        assert requests(ca) == []
        assert audit.verify(ca.settings.directory).wrong == []


def test_what_would_be_refused_anyhow_waits_for_nobody(tmp_path: Path) -> None:
    with authority(tmp_path, profiles={"server": {"approvals": 1, "names": [{"dns": ".example.com"}]}}) as ca:
        with pytest.raises(CAError, match="does not give"):
            submit(ca, order(ca, "dns:www.example.net"))
        assert requests(ca) == []


def test_the_rules_that_hold_at_the_approval_count(tmp_path: Path) -> None:
    with authority(tmp_path, profiles={"server": {"approvals": 1}}) as ca:
        submit(ca, order(ca, "dns:www.example.com"))
    with authority(tmp_path, profiles={"server": {"approvals": 1, "names": [{"dns": ".example.org"}]}}) as ca:
        with pytest.raises(CAError, match="does not give"):
            approve(ca, 1, "carol")
        assert [each.state for each in requests(ca, state=None)] == ["refused"]


def test_a_request_that_is_not_there_is_said(tmp_path: Path) -> None:
    with authority(tmp_path) as ca, pytest.raises(CAError) as raised:
        approve(ca, 9, "carol")
    assert raised.value.kind == "not-found"


@pytest.mark.parametrize(
    ("asker", "approver"),
    [
        ("alice", "Alice"),
        ("email:ann@example.com", "email:ANN@example.com"),
        # One sits at the machine, the other comes with a certificate: who says that they are two?
        ("ann", "email:ann@example.com"),
        ("email:ann@example.com", "ann"),
        ("uri:spiffe://example.com/ann", "cn:Ann Smith"),
    ],
)
def test_one_person_by_two_names_is_one_person(tmp_path: Path, asker: str, approver: str) -> None:
    people = {"Ann": ["uri:spiffe://example.com/ann", "cn:Ann Smith"]}
    with authority(tmp_path, profiles=TWO, people=people_of(people)) as ca:
        submit(ca, order(ca, "dns:www.example.com", requester="web", submitter=asker))
        with pytest.raises(CAError, match="asked for it"):
            approve(ca, 1, approver)
        submit(ca, order(ca, "dns:www.example.com", requester="web", submitter="bob"))
        approve(ca, 2, asker)
        with pytest.raises(CAError, match="approved it already"):
            approve(ca, 2, approver)
        assert audit.verify(ca.settings.directory).wrong == []


def test_two_people_of_like_names_are_two_where_the_config_says_so(tmp_path: Path) -> None:
    people = people_of({"Ann One": ["ann"], "Ann Two": ["email:ann@example.com"]})
    with authority(tmp_path, profiles={"server": {"approvals": 1}}, people=people) as ca:
        submit(ca, order(ca, "dns:www.example.com", requester="web", submitter="ann"))
        assert isinstance(approve(ca, 1, "email:ann@example.com"), Certified)


def test_a_name_is_of_one_person() -> None:
    with pytest.raises(CAError, match=r"is said to be ann and bob"):
        people_of({"ann": ["email:x@example.com"], "bob": ["email:X@example.com"]})


def test_any_name_of_the_certificate_that_approves_counts(tmp_path: Path) -> None:
    with authority(tmp_path, profiles={"server": {"approvals": 1}}) as ca:
        asked = replace(
            order(ca, "dns:www.example.com", requester="uri:spiffe://example.com/ann", submitter="x"),
            behind=("email:ann@example.com",),
        )
        submit(ca, asked)
        with pytest.raises(CAError, match=r"counts as the same person as email:ann@example\.com"):
            approve(ca, 1, "cn:somebody", ["email:ann@example.com"])
        assert isinstance(approve(ca, 1, "cn:somebody", ["email:bob@example.com"]), Certified)


def test_who_granted_the_enrolment_token_does_not_approve_what_it_asks(tmp_path: Path) -> None:
    with authority(tmp_path, profiles={"server": {"approvals": 1}}) as ca:
        token = grant(
            ca, requester="web-7", profile="server", names=["dns:www.example.com"], lifetime=timedelta(hours=1), person="ann"
        )  # fmt: skip
        found = read(ca, token)
        assert found.by == "ann"
        asked = order(ca, "dns:www.example.com", requester="web-7", submitter=found.submitter)
        submit(ca, replace(asked, behind=(found.by,)))
        with pytest.raises(CAError, match="asked for it"):
            approve(ca, 1, "ann")


def test_an_issuers_profile_waits_for_people_as_well(tmp_path: Path) -> None:
    """Founding an intermediate and cross-signing went by the queue."""
    with authority(tmp_path, profiles={"intermediate": {"approvals": 1}}) as ca:
        made = found_intermediate(ca, "Issuing", by="ann")
        assert made.certificate is None
        with pytest.raises(CAError, match="asked for it"):
            approve(ca, 1, "ann")
        answer = approve(ca, 1, "bob")
        assert isinstance(answer, Certified)
        install(ca, "Issuing", answer.chain)
        assert ca.issuer().name == "Issuing"
        assert audit.verify(ca.settings.directory).wrong == []
