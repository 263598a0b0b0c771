"""Which parts of a scan go first, and whose silence it was."""

from certwatch.plugins.collector import Part
from certwatch.zones.dispatch import GAP_SECONDS, MOST_URGENT, URGENT, Hearing, priorities_of


def test_parts_with_a_near_expiry_go_before_the_others_of_their_scan_and_those_before_other_scans() -> None:
    assert priorities_of(4, ()) == [0, 0, 0, 0]
    scopes = ["www.example.com", "pay.example.com:8443"]
    found = priorities_of(40, scopes)
    urgent = {index for index, priority in enumerate(found) if priority == MOST_URGENT}
    assert urgent == {
        index for index in range(40) if any(Part(index=index, count=40).has(each) for each in scopes)
    }
    assert len(urgent) == 2
    assert set(found) == {URGENT, MOST_URGENT}
    assert 0 < URGENT < MOST_URGENT


def test_a_gap_in_what_the_database_says_begins_the_hearing_anew() -> None:
    hearing = Hearing()
    assert hearing.seconds(100.0) == 0.0
    hearing.heard(100.0)
    hearing.heard(103.0)
    assert hearing.seconds(104.0) == 4.0
    # This process stood still, or waited for a server that restarts.
    late = 103.0 + GAP_SECONDS + 1
    assert hearing.seconds(late) == 0.0
    hearing.heard(late)
    assert hearing.seconds(late + 2) == 2.0
