"""The short form of tests/faults/soak.py."""

import random
from pathlib import Path

import pytest

from tests.faults.soak import soak

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]


def test_whatever_is_killed_meanwhile_the_inventory_ends_as_in_a_quiet_run(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 32)
    print(f"seed {seed}")
    done = soak(tmp_path, seconds=40, every=5, seed=seed, say=print)
    assert sum(count for what, count in done.items() if what != "states") >= 3
