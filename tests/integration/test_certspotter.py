"""The log that our tests read from, read by another monitor: it is one, and we miss nothing that the other one finds."""

from pathlib import Path

import pytest

from certwatch.ct.leaves import make_leaf
from tests.collectors.ct_stage import Reading, ordinary
from tests.ct.odd_names import WATCHED, tricks
from tests.support.certspotter import certspotter
from tests.support.ct_log import BEGIN_MS, TestLog, serving

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": True}


async def test_another_monitor_verifies_the_log_and_finds_nothing_that_we_do_not(tmp_path: Path) -> None:
    log = TestLog()
    log.speaks = {"rfc6962"}
    hidden = dict(tricks())
    for number, data in enumerate(hidden.values()):
        log.add(ordinary(number), precertificate=number % 2 == 0)
        log.append(make_leaf(data, BEGIN_MS + number), b"\0\0\0", b"\0\0")
    for number in range(2000):
        log.add(ordinary(1000 + number))
    head = log.publish()
    with serving(log):
        with certspotter(log.list_entry(), WATCHED) as other:
            other.wait(head.size)
            theirs = other.found
            assert other.verified == head.size
        reading = Reading(tmp_path, log)
        await reading.once(domains=list(WATCHED))
    ours = {int(each.rpartition("/")[2]) for each in reading.found()}
    assert len(theirs) > 40
    assert theirs <= ours
    # And what the other one passes over.
    assert ours == {2 * number + 1 for number in range(len(hidden))}
