"""Nonces: each is good for one request (RFC 8555, 6.5).

They are not kept but signed: whoever asks for a million of them takes none away from others. What is kept are those that were used."""

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

#: How long one is good.
SECONDS = 3600
#: Used ones that are kept. Above it the oldest are forgotten, and with them every nonce that is as old.
KEPT = 100_000
#: When, and what is random; with the other one a multiple of three, so that base64 needs no padding.
_LENGTH = 17
_MAC_BYTES = 16


class Nonces:
    """Owned by the event loop. After a restart clients try again once: with badNonce they get a fresh one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        #: In the order of use; when each was made.
        self._used: dict[bytes, int] = {}
        #: What was made before is good no more, in milliseconds of the clock.
        self._since = 0

    def make(self) -> str:
        made = self._now().to_bytes(8, "big") + secrets.token_bytes(_LENGTH - 8)
        return urlsafe_b64encode(made + self._mac(made)).decode()

    def take(self, nonce: str | None) -> bool:
        """True once for each that was made and is not too old."""
        try:
            packed = urlsafe_b64decode(nonce or "")
        except ValueError:
            return False
        made, mac = packed[:_LENGTH], packed[_LENGTH:]
        if len(made) != _LENGTH or not hmac.compare_digest(mac, self._mac(made)) or made in self._used:
            return False
        # base64 has several ways to write the same bytes: what counts is what they say.
        at = int.from_bytes(made[:8], "big")
        if at < max(self._since, self._now() - SECONDS * 1000):
            return False
        self._used[made] = at
        self._forget()
        return True

    def _forget(self) -> None:
        oldest = self._now() - SECONDS * 1000
        while self._used:
            first = next(iter(self._used))
            at = self._used[first]
            if len(self._used) <= KEPT and at >= oldest:
                return
            # None of them may come back.
            self._since = max(self._since, at + 1)
            del self._used[first]

    def _mac(self, made: bytes) -> bytes:
        return hmac.digest(self._secret, made, "sha256")[:_MAC_BYTES]

    def _now(self) -> int:
        return int(self._clock() * 1000)
