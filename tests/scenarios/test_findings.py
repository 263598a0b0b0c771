"""Findings over weeks: when they open, what keeps them open, when they resolve."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import EPOCH, Issued, make_certificate
from tests.scenarios.play import ISSUER, OTHER, PLACE, Play

#: Hundreds of scans each, on whatever machine.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

HOUR = timedelta(hours=1)


def issue(*, from_day: float, days: float, number: int = 1) -> Issued:
    begin = EPOCH + timedelta(days=from_day)
    return make_certificate(
        names=("dns:www.example.com",),
        issuer=ISSUER,
        not_before=begin,
        not_after=begin + timedelta(days=days),
        key_number=number,
    )


#: Ninety days of which twenty-five are left at the start: a ticket opens at 22.5 days before the end, a page at 2.
OLD = issue(from_day=-65, days=90)
NEW = issue(from_day=20, days=90, number=2)


def renewed(folder: Path) -> Play:
    play = Play(folder)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=24).serve(PLACE, NEW)
    return play


async def test_expiry_opens_a_ticket_then_pages_and_resolves_when_renewed(tmp_path: Path) -> None:
    play = renewed(tmp_path)
    play.every = timedelta(hours=3)
    await play.run(days=40)
    line = f"expiry {PLACE}"
    # To the minute of its lead, not at the next scan.
    play.expect(f"opened {line}", after=timedelta(days=2.5), before=timedelta(days=2.5))
    play.expect(f"altered {line}", after=timedelta(days=23), before=timedelta(days=23))
    play.expect(f"resolved {line}", after=timedelta(days=24), before=timedelta(days=24) + 3 * HOUR)
    assert play.told() == [f"opened {line}", f"altered {line}", f"resolved {line}"]
    assert await play.now() == {}


@pytest.mark.parametrize("seed", range(4))
async def test_restarts_at_any_time_change_nothing_in_the_end(tmp_path: Path, seed: int) -> None:
    play = renewed(tmp_path)
    play.every = timedelta(hours=6)
    times = random.Random(seed)  # noqa: S311
    for _ in range(8):
        play.at(hours=times.uniform(0, 30 * 24)).restart()
    # The worst moments: the page is due, the renewal has just been seen.
    play.at(days=23).restart()
    play.at(days=24).restart()
    await play.run(days=30)
    line = f"expiry {PLACE}"
    assert play.told() == [f"opened {line}", f"altered {line}", f"resolved {line}"], f"seed {seed}"


async def test_a_failed_scan_retires_nothing(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=3).remove(PLACE)
    play.at(days=3).scans_raise(CollectError("permission", "token refused. Renew it"))
    await play.run(days=5)
    assert set(await play.now()) == {f"expiry {PLACE}"}
    # Back to work, and it is really gone.
    play.at(days=6).scans_raise(None)
    await play.run(days=7)
    assert await play.now() == {}
    play.expect(f"retired {PLACE}", after=timedelta(days=6), before=timedelta(days=6) + HOUR)
    play.expect(f"resolved expiry {PLACE}", after=timedelta(days=6), before=timedelta(days=6) + HOUR)


async def test_what_a_collector_could_not_look_at_is_not_retired(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(OTHER, OLD)
    play.at(days=3).remove(PLACE)
    play.at(days=3).remove(OTHER)
    play.at(days=3).scans_are_incomplete("192.0.2.1:443")
    await play.run(days=4)
    assert set(await play.now()) == {f"expiry {PLACE}"}


async def test_a_failed_probe_keeps_the_last_expiry_in_force(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=1).fail(PLACE)
    await play.run(days=24)
    # Opened, and grown to a page, while the endpoint did not answer.
    play.expect(f"opened expiry {PLACE}", after=timedelta(days=2.5), before=timedelta(days=2.5))
    play.expect(f"altered expiry {PLACE}", after=timedelta(days=23), before=timedelta(days=23))
    assert set(await play.now()) == {f"expiry {PLACE}", f"unreachable {PLACE}"}


async def test_an_endpoint_that_comes_and_goes_lets_no_expiry_flap(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    for hour in range(70, 90):
        if hour % 2:
            play.at(hours=hour).serve(PLACE, OLD)
        else:
            play.at(hours=hour).fail(PLACE, "reset")
    await play.run(hours=100)
    assert play.told("opened expiry") == [f"opened expiry {PLACE}"]
    assert play.told("resolved expiry") == []


async def test_a_collector_that_raises_leaves_the_other_findings_alone(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=1).scans_raise(ZeroDivisionError("a plug-in's bug"))
    await play.run(days=4)
    assert set(await play.now()) == {f"expiry {PLACE}"}
    statuses = {line for _, line in play.log if line.startswith("scan")}
    assert statuses == {"scan edge complete", "scan edge failed"}


async def test_the_same_certificate_at_two_places_is_resolved_where_it_was_renewed(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(OTHER, OLD)
    play.at(days=21).serve(PLACE, NEW)
    await play.run(days=22)
    assert set(await play.now()) == {f"expiry {OTHER}", f"addresses-differ {OTHER}"}


async def test_a_clock_that_was_ahead_for_a_while_leaves_no_trace(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    # A year ahead: everything has expired. Then the time server is right again.
    play.at(days=1).clock_jumps(days=365)
    play.at(days=366, hours=3).clock_jumps(days=-365)
    await play.run(days=1, hours=12)
    await play.run(days=2)
    assert await play.now() == {}
    line = f"expiry {PLACE}"
    assert play.told() == [f"opened {line}", f"resolved {line}"]


async def test_a_certificate_of_six_days_pages_only_when_its_renewal_is_late(tmp_path: Path) -> None:
    play = Play(tmp_path)
    for number in range(4):
        play.at(days=3 * number).serve(PLACE, issue(from_day=3 * number, days=6, number=10 + number))
    await play.run(days=12)
    assert play.told() == []
    await play.run(days=16)
    # First that it is not as usual, which pages nobody.
    assert play.told("opened") == [f"opened renewal-rhythm {PLACE}", f"opened expiry {PLACE}"]
