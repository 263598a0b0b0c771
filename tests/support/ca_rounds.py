"""Rounds of a CA database's collector into an inventory, as the engine makes them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar, cast

from certwatch.model.observation import Incomplete, LookError, Observation, Scan, Unchanged
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectError, CollectorContext
from collectors.ca_database import CADatabaseCollector
from tests.support.inventories import Tried

Said = Observation | Incomplete | Unchanged


class Rounds:
    """One configured collector, named "corp", and the inventory that it follows."""

    kind: ClassVar[Any] = CADatabaseCollector

    def __init__(self, tried: Tried, **config: Any) -> None:
        self.tried = tried
        self.config = config
        #: What the last round said.
        self.said: list[Said] = []

    async def round(self, **moved: float) -> Scan:
        """After the clock was moved on. A round that is impossible ends as a failed scan."""
        tried = self.tried
        tried.clock.advance(**(moved or {"minutes": 15}))
        scan = tried.writer.begin_scan("corp", tried.clock())
        failed: LookError | None = None
        self.said = []
        try:
            # Made anew each time: nothing may hang on the process.
            collector = self.kind(
                "corp",
                self.kind.Config.model_validate(self.config),
                CollectorContext(clock=tried.clock, view=tried.reader),
            )
            async with aclosing(cast("AsyncGenerator[Said, None]", collector.collect())) as stream:
                async for each in stream:
                    self.said.append(each)
        except CollectError as error:
            failed = LookError(kind=error.kind, message=error.message)
        tried.writer.record(scan, self.observations, {})
        return tried.writer.finish_scan(
            scan,
            [each for each in self.said if isinstance(each, Incomplete)],
            tried.clock(),
            failed=failed,
            unchanged=[each.scope for each in self.said if isinstance(each, Unchanged)],
        )

    @property
    def observations(self) -> list[Observation]:
        return [each for each in self.said if isinstance(each, Observation)]

    @property
    def told(self) -> list[str]:
        """Locations of certificates that the last round named."""
        return [each.location for each in self.observations if not each.location.startswith("ca-database:")]

    @property
    def database(self) -> Served:
        return self.tried.served("ca-database://corp")

    def live(self) -> list[str]:
        """Locations of certificates that are known and not retired."""
        return [
            each.location.uri
            for each in self.tried.reader.live()
            if not each.location.uri.startswith("ca-database:")
        ]
