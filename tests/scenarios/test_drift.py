"""Renewed, but not everywhere: found after its grace, gone when it has arrived."""

from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.plugins.testing import EPOCH, Issued, make_certificate
from tests.scenarios.play import ISSUER, OTHER, PLACE, Play

#: Hundreds of scans each, on whatever machine.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]
FILE = "file:///etc/letsencrypt/live/www/fullchain.pem"
HOUR = timedelta(hours=1)


def issue(day: int, number: int, *, name: str = "dns:www.example.com", key_kind: str = "ec") -> Issued:
    begin = EPOCH + timedelta(days=day)
    return make_certificate(
        issuer=ISSUER,
        names=(name,),
        not_before=begin,
        not_after=begin + timedelta(days=90),
        key_number=number,
        key_kind=key_kind,
    )


OLD, NEW = issue(-10, 1), issue(-1, 2)


async def test_what_was_renewed_in_a_file_and_not_served_is_found_and_resolves_when_it_is(
    tmp_path: Path,
) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(FILE, OLD)
    play.at(days=6).serve(FILE, NEW)
    play.at(days=8).serve(PLACE, NEW)
    await play.run(days=10)
    day = timedelta(days=1)
    play.expect(f"opened renewed-not-served {PLACE}", after=6 * day + 6 * HOUR, before=6 * day + 8 * HOUR)
    play.expect(f"resolved renewed-not-served {PLACE}", after=8 * day, before=8 * day + 2 * HOUR)
    assert len(play.told()) == 2


async def test_an_address_that_was_forgotten_is_found(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(OTHER, OLD)
    play.at(days=6).serve(OTHER, NEW)
    play.at(days=7).serve(PLACE, NEW)
    await play.run(days=9)
    assert play.told() == [f"opened addresses-differ {PLACE}", f"resolved addresses-differ {PLACE}"]


async def test_a_renewal_that_reaches_everything_within_its_grace_says_nothing(tmp_path: Path) -> None:
    play = Play(tmp_path)
    for place, hours in ((FILE, 0), (PLACE, 3), (OTHER, 4)):
        play.at(days=0).serve(place, OLD)
        play.at(days=6, hours=hours).serve(place, NEW)
    await play.run(days=9)
    assert play.told() == []


async def test_a_place_that_is_gone_holds_nothing_against_the_others(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(FILE, NEW)
    play.at(days=7).remove(FILE)
    await play.run(days=9)
    assert play.told() == [f"opened renewed-not-served {PLACE}", f"resolved renewed-not-served {PLACE}"]


async def test_a_place_that_turns_to_other_names_is_noticed_within_the_hour(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(FILE, NEW)
    play.at(days=7).serve(FILE, issue(7, 3, name="dns:other.example.com"))
    await play.run(days=9)
    day = timedelta(days=1)
    play.expect(f"resolved renewed-not-served {PLACE}", after=7 * day, before=7 * day + 2 * HOUR)


async def test_two_kinds_of_key_for_one_name_are_no_renewal(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=0).serve(OTHER, issue(-1, 2, key_kind="rsa"))
    await play.run(days=9)
    assert play.told() == []


async def test_a_renewal_that_does_not_come_in_its_rhythm_is_told_long_before_the_end(tmp_path: Path) -> None:
    play, day = Play(tmp_path), timedelta(days=1)
    for number in range(4):
        begin = EPOCH + 4 * number * day
        nine_days = make_certificate(
            issuer=ISSUER,
            names=("dns:www.example.com",),
            not_before=begin,
            not_after=begin + 9 * day,
            key_number=number + 1,
        )
        play.at(days=4 * number).serve(PLACE, nine_days)
    await play.run(days=18)
    # The fourth ends at day 21; the others had five days left. 5 % of nine days later it is late.
    play.expect(f"opened renewal-rhythm {PLACE}", after=16.4 * day, before=16.6 * day)
    # Then the ticket of expiry, with five twelfths of the lifetime left, takes it over.
    play.expect(f"opened expiry {PLACE}", after=17.2 * day, before=17.4 * day)
    play.expect(f"resolved renewal-rhythm {PLACE}", after=17.2 * day, before=17.4 * day)
