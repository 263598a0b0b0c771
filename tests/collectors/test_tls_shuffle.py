"""The random order: every number once, the same for the same seed, and from any step on."""

from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from collectors.tls.shuffle import Shuffle

SEEDS = st.integers(0, (1 << 64) - 1)


@given(st.integers(0, 3000), SEEDS)
def test_every_number_comes_once(size: int, seed: int) -> None:
    made = Shuffle(size, seed)
    assert sorted(number for _, number in made.from_step(0)) == list(range(size))
    assert made.steps < 2 * max(size, 1)


@given(st.integers(1, 1 << 40), SEEDS, st.integers(0, 1 << 40))
def test_what_comes_at_a_step_depends_on_nothing_before(size: int, seed: int, step: int) -> None:
    made = Shuffle(size, seed)
    step %= made.steps
    for at, number in islice(made.from_step(step), 3):
        assert at >= step
        assert Shuffle(size, seed).at(at) == number < size


def test_neighbours_in_time_are_far_apart() -> None:
    for seed in (0, 1, 2, 1 << 63, 0x1234567890ABCDEF):
        size = 1 << 16
        order = [number for _, number in Shuffle(size, seed).from_step(0)]
        # By chance one in 128 is within 256 of the one before.
        near = sum(abs(one - other) < 256 for one, other in pairwise(order))
        assert near < size / 128 * 6, (seed, near)
        # And each stretch of it has a part of everywhere.
        assert len({number >> 10 for number in order[:1000]}) > 50
