"""The one place where everything is caught: where a plug-in is called."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from certwatch.plugins.collector import CollectError
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import PLUGIN_FAILURES

log = get_logger(__name__)


class PluginFailed(Exception):
    """A plug-in raised what it must not; already logged and counted."""


@contextmanager
def guard(group: str, kind: str) -> Iterator[None]:
    """Turns any exception of a plug-in's call into PluginFailed: logged with the plug-in's own frames, counted.
    CollectError is a collector's own word and passes."""
    try:
        yield
    except (PluginFailed, CollectError):
        raise
    except Exception as error:
        PLUGIN_FAILURES.labels(group, kind, type(error).__name__).inc()
        frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[1:])
        log.error("plugin_failed", group=group, kind=kind, error=repr(error), frames="".join(frames[-5:]))
        raise PluginFailed(f"{group.removesuffix('s')} {kind!r} failed: {error!r}") from error
