"""Nonces: each is good for one request (RFC 8555, 6.5)."""

import secrets

#: Of those that were handed out, the newest. A client whose nonce is gone gets badNonce with a fresh one, and tries again.
KEPT = 20_000


class Nonces:
    """Owned by the event loop. Kept in memory: after a restart clients try again once."""

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    def make(self) -> str:
        if len(self._open) >= KEPT:
            del self._open[next(iter(self._open))]
        nonce = secrets.token_urlsafe(24)
        self._open[nonce] = None
        return nonce

    def take(self, nonce: str | None) -> bool:
        """True once for each that was made."""
        if nonce is None or nonce not in self._open:
            return False
        del self._open[nonce]
        return True
