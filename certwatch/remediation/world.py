"""What a roll-out works with."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from certwatch.inventory.store import Reader
from certwatch.model.certificate import Certificate
from certwatch.model.clock import Clock
from certwatch.model.observation import Observation
from certwatch.plugins.deployer import Material
from certwatch.remediation.book import Book
from certwatch.remediation.policy import Policy

#: Look at places now: what was seen, by URI. What cannot be looked at is absent.
Look = Callable[[Sequence[str]], Awaitable[Mapping[str, Observation]]]


async def _pass(step: str) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    book: Book
    policies: Mapping[str, Policy]
    #: A reader of the inventory for the calling thread.
    reading: Callable[[], AbstractContextManager[Reader]]
    clock: Clock
    look: Look
    #: These collectors should look again: what they watch has changed.
    look_again: Callable[[Iterable[str]], None] = lambda collectors: None
    #: Somebody keeps what happened, with who and why (the CA's ledger, events).
    note: Callable[[str, Mapping[str, Any]], None] = lambda event, fields: None
    #: What an issuer has given, and why: it is expected where CT logs show it, also if it is never put in place. Blocking.
    expect: Callable[[Certificate, str], None] = lambda certificate, why: None
    #: Awaited with the name of each step that a crash could come after; tests crash there.
    step: Callable[[str], Awaitable[None]] = _pass
    #: By plan. In memory alone: after a crash another certificate is issued.
    material: dict[int, Material] = field(default_factory=dict)
    #: Issuers that have had enough, by `Policy.issuer_id`: until when, by the monotonic clock.
    paused: dict[str, float] = field(default_factory=dict)
