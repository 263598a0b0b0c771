"""What the pages and the API know of the running certwatch."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from certwatch.engine.engine import CollectorState
from certwatch.engine.known_rules import KnownRule
from certwatch.inventory.store import Reader
from certwatch.model.clock import Clock

#: What is wrong with the config; empty: it was taken.
Reload = Callable[[], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    version: str
    clock: Clock
    #: Why it does not do its work fully; empty: it does.
    not_ready: Callable[[], Sequence[str]]
    #: Plug-ins that could not be made.
    broken: Callable[[], Sequence[str]]
    #: The configured collectors, as they are now.
    collectors: Callable[[], Sequence[CollectorState]]
    #: What is checked, the user's own rules too.
    rules: Sequence[KnownRule]
    #: A reader for the calling thread, for so many seconds. Blocking; raises InventoryError.
    reading: Callable[[float | None], AbstractContextManager[Reader]]
    #: Take the config anew.
    reload: Reload
    #: The host names by which a server on loopback may be called, beside IP addresses and localhost.
    #: None: any, since it does not listen on loopback alone.
    host_names: frozenset[str] | None = None
    #: Another daemon works on the same inventory: this one answers alone.
    stands_by: bool = False
