"""The one place where everything is caught: where a plug-in is called."""

import time
import traceback
from collections.abc import Callable, Hashable
from types import TracebackType

from certwatch.plugins.collector import CollectError
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import PLUGIN_FAILURES

log = get_logger(__name__)

#: The same failure at the same line is logged this often, and counted always: a rule that fails, fails at every
#: one of a million locations.
REPEAT_SECONDS = 60.0
#: Failures told apart; beyond it all are logged anew.
MAX_REMEMBERED = 1000


class PluginFailed(Exception):
    """A plug-in raised what it must not; already logged and counted."""


class Repeats:
    """Which failures have just been said. Threads may race: one line too many is said then."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # When it was said, and how often it came since.
        self._said: dict[Hashable, tuple[float, int]] = {}

    def came(self, failure: Hashable) -> int | None:
        """How often it came since it was said last, this time included. None: it was said just now."""
        now = self._monotonic()
        if len(self._said) > MAX_REMEMBERED:
            self._said.clear()
        said, since = self._said.get(failure, (-REPEAT_SECONDS, 0))
        if now - said < REPEAT_SECONDS:
            self._said[failure] = said, since + 1
            return None
        self._said[failure] = now, 0
        return since + 1


_repeats = Repeats()


class guard:
    """Turns any exception of a plug-in's call into PluginFailed: logged with the plug-in's own frames, counted.
    CollectError is a collector's own word and passes. A class, since it stands around each call of each rule: a
    generator costs five times as much."""

    __slots__ = ("_group", "_kind")

    def __init__(self, group: str, kind: str) -> None:
        self._group = group
        self._kind = kind

    def of(self, kind: str) -> "guard":
        """The same guard around the next call, of another plug-in."""
        self._kind = kind
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (
            error is None
            or not isinstance(error, Exception)
            or isinstance(error, PluginFailed | CollectError)
        ):
            return
        group, kind = self._group, self._kind
        PLUGIN_FAILURES.labels(group, kind, error.__class__.__name__).inc()
        frames = traceback.extract_tb(error.__traceback__)
        where = (frames[-1].filename, frames[-1].lineno) if frames else ()
        times = _repeats.came((group, kind, error.__class__, where))
        if times is not None:
            log.error(
                "plugin_failed",
                group=group,
                kind=kind,
                error=repr(error),
                times=times,
                frames="".join(traceback.format_list(frames)[-5:]),
            )
        raise PluginFailed(f"{group.removesuffix('s')} {kind!r} failed: {error!r}") from error
