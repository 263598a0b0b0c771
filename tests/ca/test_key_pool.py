"""A token that misbehaves as tokens do: the far side of the door is a fake here, SoftHSM is too kind."""

import threading
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certwatch.ca.failure import CAError
from certwatch.ca.key_file import FileSigner
from certwatch.ca.key_pool import PooledSigner
from certwatch.ca.signer import Mechanism, foreign_key, hash_for
from certwatch.ca.token import TokenGone
from certwatch.plugins.testing import key

PRIVATE = key("ec", 55)
assert isinstance(PRIVATE, ec.EllipticCurvePrivateKey)


class Token:
    """Its sessions die with each generation; `faults` are raised, one a call, before anything is signed."""

    def __init__(
        self, name: str = "token", *faults: Exception, open_faults: tuple[Exception, ...] = ()
    ) -> None:
        self.name = name
        self.faults, self.open_faults = list(faults), list(open_faults)
        self.opened = self.resets = self.signed = self.generation = 0
        self.answer: Callable[[bytes], bytes] = lambda good: good
        self._real = FileSigner.__new__(FileSigner)
        self._real.__init__(__import__("pathlib").Path("x"), PRIVATE)  # type: ignore[misc]

    def open(self) -> "Session":
        if self.open_faults:
            raise self.open_faults.pop(0)
        self.opened += 1
        return Session(self)

    def reset(self, generation: int) -> None:
        self.resets += 1
        self.generation += 1


class Session:
    def __init__(self, token: Token) -> None:
        self._token, self._generation = token, token.generation

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        token = self._token
        if self._generation != token.generation:
            raise TokenGone("an old handle")
        if token.faults:
            raise token.faults.pop(0)
        token.signed += 1
        return token.answer(token._real.sign(mechanism, data))

    def close(self) -> None:
        pass


def signing(*tokens: Token) -> Callable[[bytes], bytes]:
    made = foreign_key(PooledSigner("key", tokens), PRIVATE.public_key())
    return lambda data: made.sign(data, ec.ECDSA(hash_for(PRIVATE.public_key())))  # type: ignore[call-arg, arg-type]


def verify(signature: bytes, data: bytes) -> None:
    public = PRIVATE.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, data, ec.ECDSA(hash_for(public)))  # type: ignore[arg-type]


def test_a_session_is_kept_for_the_next_signature() -> None:
    token = Token()
    sign = signing(token)
    for number in range(10):
        verify(sign(b"%d" % number), b"%d" % number)
    assert (token.opened, token.resets) == (1, 0)


def test_a_session_that_is_lost_is_opened_anew_and_the_key_found_again() -> None:
    token = Token("t", TokenGone("SessionHandleInvalid"))
    verify(signing(token)(b"x"), b"x")
    assert (token.opened, token.resets) == (2, 1)


def test_a_token_that_stays_away_is_said_and_comes_back_without_a_restart_of_ours() -> None:
    token = Token(open_faults=tuple(TokenGone("TokenNotPresent") for _ in range(2)))
    sign = signing(token)
    with pytest.raises(CAError) as raised:
        sign(b"x")
    assert raised.value.kind == "token"
    verify(sign(b"x"), b"x")


def test_the_second_token_signs_when_the_first_is_away() -> None:
    first, second = Token("a", open_faults=tuple(TokenGone("gone") for _ in range(99))), Token("b")
    sign = signing(first, second)
    for _ in range(3):
        verify(sign(b"x"), b"x")
    assert (first.signed, second.signed) == (0, 3)


def test_a_wrong_pin_is_never_tried_again() -> None:
    token = Token(open_faults=(CAError("pin", "PinIncorrect"),))
    sign = signing(token)
    for _ in range(3):
        with pytest.raises(CAError) as raised:
            sign(b"x")
        assert raised.value.kind == "pin"
    assert token.opened == 0
    assert token.open_faults == []


@pytest.mark.parametrize(
    "lie",
    [
        lambda good: bytes(10),
        lambda good: good[:-1] + bytes([good[-1] ^ 1]),
        lambda good: b"",
        lambda good: good[:20],
    ],
)
def test_a_wrong_or_half_signature_is_never_handed_out(lie: Callable[[bytes], bytes]) -> None:
    token = Token()
    token.answer = lie
    with pytest.raises(CAError, match="does not verify"):
        signing(token)(b"x")


def test_many_threads_lose_the_token_at_once_and_it_is_restarted_once_for_them() -> None:
    token = Token()
    sign = signing(token)
    sign(b"warm")
    token.generation += 1  # restarted behind our back
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                verify(sign(b"x"), b"x")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert token.resets <= 6
