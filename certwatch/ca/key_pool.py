"""Signing by whichever token has the key and works: sessions that are kept open, opened anew, and failed over."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from certwatch.ca.failure import CAError
from certwatch.ca.signer import Mechanism
from certwatch.ca.token import TokenGone
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CA_TOKEN_FAILURES, CA_TOKEN_SECONDS

log = get_logger(__name__)

#: Sessions that are kept for the next signature; more are opened when more threads sign at once.
MOST_KEPT = 8


class Session(Protocol):
    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        """Raises TokenGone, CAError."""

    def close(self) -> None:
        """Never raises."""


class Source(Protocol):
    """Where a key is. `token.TokenSource` is the real one."""

    name: str

    def open(self) -> Session:
        """Raises TokenGone, CAError."""

    def reset(self, generation: int) -> None: ...


class PooledSigner:
    """A `Signer` over one or more sources that hold the same key: the first that works signs."""

    def __init__(self, name: str, sources: Sequence[Source]) -> None:
        self.name = name
        self._slots = [_Slot(each) for each in sources]
        self._seconds = CA_TOKEN_SECONDS.labels(name)

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        last: Exception | None = None
        for slot in self._slots:
            started = time.perf_counter()
            try:
                signature = slot.sign(mechanism, data)
            except TokenGone as error:
                last = error
            except CAError as error:
                # A wrong PIN at one token says nothing of the next one.
                last = error
                slot.failed(error.kind, str(error))
            else:
                self._seconds.observe(time.perf_counter() - started)
                return signature
        if isinstance(last, CAError):
            raise last
        raise CAError("token", f"{last}. No token that has this key can sign: see that it is there") from last

    def close(self) -> None:
        for each in self._slots:
            each.clear()


class _Slot:
    def __init__(self, source: Source) -> None:
        self._source = source
        #: Taken from and added to by single operations, which need no lock.
        self._kept: deque[Session] = deque()
        self._pin_refused: CAError | None = None
        self._resets = 0
        self._resetting = threading.Lock()

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        """Once anew when what was open is dead."""
        if self._pin_refused is not None:
            raise self._pin_refused
        try:
            return self._once(mechanism, data)
        except TokenGone as error:
            self.failed("gone", str(error))
            before = self._resets
            with self._resetting:
                if self._resets == before:
                    self.clear()
                    self._resets += 1
                    generation = getattr(getattr(self._source, "module", None), "generation", 0)
                    self._source.reset(generation)
            return self._once(mechanism, data)

    def _once(self, mechanism: Mechanism, data: bytes) -> bytes:
        try:
            session = self._kept.pop()
        except IndexError:
            try:
                session = self._source.open()
            except CAError as error:
                if error.kind == "pin":
                    # Never tried again by this process: hardware counts.
                    self._pin_refused = error
                raise
        try:
            signature = session.sign(mechanism, data)
        except BaseException:
            session.close()
            raise
        if len(self._kept) < MOST_KEPT:
            self._kept.append(session)
        else:
            session.close()
        return signature

    def clear(self) -> None:
        while True:
            try:
                self._kept.pop().close()
            except IndexError:
                return

    def failed(self, reason: str, detail: str) -> None:
        CA_TOKEN_FAILURES.labels(self._source.name, reason).inc()
        log.warning("ca_token_failed", token=self._source.name, reason=reason, detail=detail)
