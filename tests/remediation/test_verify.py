"""A place counts as seen when it shows the new certificate, whole, and goes on showing it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from certwatch.remediation.stopped import StepFailed
from certwatch.remediation.verify import until_shown

pytestmark = pytest.mark.anyio
CA = make_ca("Issuing CA", issuer=make_ca("Root", key_number=530), key_number=531)
FORMER = make_certificate(issuer=CA, key_number=532)
NEW = make_certificate(issuer=CA, key_number=533)
NEW_CHAIN = (NEW.der, CA.der)
PLACE = "tls://192.0.2.1:443/"
WITHIN = timedelta(seconds=0.5)


class Places:
    """What each look shows; the last for ever."""

    def __init__(self, *shown: tuple[bytes, ...]) -> None:
        self.shown = list(shown)
        self.looks = 0

    async def __call__(self, uris: Sequence[str]) -> Mapping[str, Observation]:
        self.looks += 1
        chain = self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]
        return {
            each: Observation(location=LocationURI(each), observed_at=EPOCH, chain=chain) for each in uris
        }


async def test_a_former_worker_that_still_answers_some_clients_is_waited_for() -> None:
    """After a reload of nginx, its former workers accept until they are told to stop: one look that shows the new
    certificate says little."""
    new, old = (NEW.der, CA.der), (FORMER.der, CA.der)
    places = Places(old, new, old, new)
    await until_shown(places, [PLACE], NEW_CHAIN, timedelta(seconds=5))
    assert places.looks == 8


async def test_one_that_falls_back_for_good_is_told() -> None:
    places = Places((NEW.der, CA.der), (FORMER.der, CA.der))
    with pytest.raises(StepFailed, match="still serves another certificate"):
        await until_shown(places, [PLACE], NEW_CHAIN, WITHIN)


async def test_the_new_certificate_without_what_is_above_it_does_not_count() -> None:
    with pytest.raises(StepFailed, match="without what is above it"):
        await until_shown(Places((NEW.der,)), [PLACE], NEW_CHAIN, WITHIN)


async def test_more_than_was_issued_is_fine() -> None:
    """Some stores put the root below."""
    await until_shown(Places((NEW.der, CA.der, FORMER.der)), [PLACE], NEW_CHAIN, WITHIN)


async def test_the_lag_of_each_place_is_told_once() -> None:
    told: list[str] = []
    places = Places((FORMER.der,), NEW_CHAIN, (FORMER.der,), NEW_CHAIN)
    await until_shown(
        places,
        [PLACE],
        NEW_CHAIN,
        timedelta(seconds=60),
        first_seen=lambda uri, seconds: told.append(f"{uri} {seconds > 0}"),
    )
    assert told == [f"{PLACE} True"]
