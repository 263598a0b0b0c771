from certwatch.engine.clock_watch import ClockWatch
from certwatch.plugins.testing import FakeClock


def test_time_that_passes_on_both_clocks_is_no_jump() -> None:
    clock, ticks = FakeClock(), [100.0]
    watch = ClockWatch(clock, lambda: ticks[0])
    clock.advance(hours=1)
    ticks[0] += 3600
    assert watch.jumped() == 0
    clock.advance(seconds=3)  # slewed
    assert watch.jumped() == 0


def test_a_clock_that_was_set_is_noticed_once() -> None:
    clock, ticks = FakeClock(), [100.0]
    watch = ClockWatch(clock, lambda: ticks[0])
    clock.advance(days=-2)
    assert round(watch.jumped()) == -2 * 86400
    assert watch.jumped() == 0
    clock.advance(hours=8)  # resumed
    ticks[0] += 1
    assert round(watch.jumped()) == 8 * 3600 - 1
