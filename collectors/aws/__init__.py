"""AWS: what its stores hold, and who uses it, over many accounts and regions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from certwatch.model.observation import Incomplete, Observation, Unchanged
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors.aws.config import AWSConfig
from collectors.aws.scan import Scan

__all__ = ["AWSCollector", "AWSConfig"]


class AWSCollector:
    """Locations: `aws://ACCOUNT/REGION/SERVICE/…`; scopes: `ACCOUNT/REGION/SERVICE`."""

    Config: ClassVar[type[CollectorConfig]] = AWSConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, AWSConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not AWSConfig")
        self._name = name
        self._config = config
        self._context = context
        #: By account and region; each used by one thread at a time.
        self._memory: dict[Any, dict[Any, Any]] = {}

    async def collect(self) -> AsyncIterator[Observation | Incomplete | Unchanged]:
        scan = Scan(self._name, self._config, self._context, self._memory)
        work = asyncio.create_task(scan.run())
        done = 0
        try:
            while (part := await scan.outbox.take()) is not None:
                for each in part:
                    yield each
                done += len(part)
                self._context.progress(done, None)
            failures = await work
        finally:
            scan.door.stop()
            work.cancel()
            await asyncio.wait([work])
        if failures:
            raise CollectError(failures[0].kind, "; ".join(each.message for each in failures[:3]))
