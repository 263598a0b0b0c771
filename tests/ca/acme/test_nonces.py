from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca.acme import nonces
from certwatch.ca.acme.nonces import Nonces


class Clock:
    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


def test_each_is_good_once() -> None:
    made = Nonces()
    nonce = made.make()
    assert nonce.isascii()
    assert "=" not in nonce
    assert made.take(nonce)
    assert not made.take(nonce)
    assert not Nonces().take(made.make())


def test_whoever_asks_for_many_takes_none_away_from_others() -> None:
    """The newest so many were kept: to ask for as many shut everybody else out."""
    made = Nonces()
    mine = made.make()
    for _ in range(30_000):
        made.make()
    assert made.take(mine)


def test_an_old_one_is_good_no_more() -> None:
    clock = Clock()
    made = Nonces(clock)
    nonce = made.make()
    clock.now += nonces.SECONDS + 1
    assert not made.take(nonce)
    assert made.take(made.make())


def test_what_was_forgotten_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "KEPT", 3)
    clock = Clock()
    made = Nonces(clock)
    used = []
    for _ in range(6):
        clock.now += 1
        used.append(made.make())
        assert made.take(used[-1])
    assert not any(made.take(each) for each in used)
    clock.now += 1
    assert made.take(made.make())


def test_the_same_nonce_written_in_another_way_is_none() -> None:
    """Else it were good as often as base64 has ways to write its bytes."""
    made = Nonces()
    nonce = made.make()
    assert made.take(nonce)
    for other in (f"{nonce}=", f"{nonce}====", f" {nonce}", f"{nonce}\n", nonce.swapcase()):
        assert not made.take(other)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: urlsafe_b64encode(data).decode()))
def test_nothing_else_is_taken(text: str) -> None:
    made = Nonces()
    made.make()
    assert not made.take(text)
    assert not made.take(None)
