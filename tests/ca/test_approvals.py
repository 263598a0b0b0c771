from pathlib import Path

import pytest

from certwatch.ca import audit, listing
from certwatch.ca.approvals import Waiting, approve, refuse, requests, submit
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified
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
