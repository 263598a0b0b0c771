from hypothesis import given
from hypothesis import strategies as st

from collectors.tls.rate import Rate


def test_tokens_come_at_the_rate() -> None:
    rate = Rate(2)
    now = 1000.0
    for expected in (0, 0.5, 0.5, 0.5):
        delay = rate.delay(now)
        assert abs(delay - expected) < 1e-9
        now += delay


def test_time_without_use_is_not_saved_up() -> None:
    rate = Rate(100)
    rate.delay(0)
    at_once = 0
    while rate.delay(1000) == 0:
        at_once += 1
    assert at_once <= 10


@given(st.floats(0.1, 5000), st.lists(st.floats(0, 0.05), min_size=1, max_size=300))
def test_no_span_of_time_sees_more_than_the_rate_and_one_burst(
    per_second: float, pauses: list[float]
) -> None:
    rate = Rate(per_second)
    now, used = 50.0, []
    for pause in pauses:
        now += pause
        now += rate.delay(now)
        used.append(now)
    burst = max(1.0, 0.1 * per_second)
    for first in range(0, len(used), 7):
        for last in range(first, len(used), 11):
            assert last - first + 1 <= burst + 1 + (used[last] - used[first]) * per_second + 1e-6
