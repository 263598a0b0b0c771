"""A stranger's plug-in, whole: a collector, a rule and an exporter in one module, three entry points, no core
file touched. It reads certificates out of one text file in which each line is `name base64-of-DER`."""

import base64
import binascii
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.plugins.rule import Rule, RuleConfig, Until, World


class PEMListConfig(CollectorConfig):
    #: The list file.
    path: Path


class PEMListCollector:
    Config: ClassVar[type[CollectorConfig]] = PEMListConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, PEMListConfig)
        self._path = config.path
        self._context = context

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        try:
            lines = self._path.read_text().splitlines()
        except OSError as error:
            raise CollectError(
                "not-found", f"{self._path}: {error.strerror}. Name an existing file"
            ) from error
        for line in lines:
            name, _, encoded = line.partition(" ")
            location = LocationURI(f"pem-list://{name}")
            now = self._context.clock()
            try:
                der = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                error = LookError(kind="malformed", message=f"{name}: not base64")
                yield Observation(location=location, observed_at=now, error=error)
            else:
                yield Observation(
                    location=location, observed_at=now, chain=(der,), labels={"listed_as": name}
                )


class TooLongConfig(RuleConfig):
    days: int = 398


def _too_long(served: Served, config: TooLongConfig, world: World) -> Iterable[Problem | Until]:
    for certificate in served.chain:
        if certificate.lifetime is not None and certificate.lifetime > timedelta(days=config.days):
            yield Problem(
                severity="info",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.subject} is valid for more than {config.days} days",
                text="Long lives make bad keys last. Issue a shorter one.",
            )


TOO_LONG = Rule(
    id="too-long",
    title="Lifetime beyond the house limit",
    why="Long lives make bad keys last.",
    fix="Issue a shorter one.",
    severity="info",
    source="house policy",
    evaluate=_too_long,
    Config=TooLongConfig,
)


class TextfileConfig(ExporterConfig):
    path: Path


class TextfileExporter:
    """Appends a line for every opened and resolved finding."""

    Config: ClassVar[type[ExporterConfig]] = TextfileConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, TextfileConfig)
        self.config = config

    async def start(self) -> None:
        pass

    async def publish(self, news: News) -> None:
        lines = [f"opened {each.rule} {each.location}\n" for each in news.opened]
        lines += [f"resolved {each.rule} {each.location}\n" for each in news.resolved]
        with self.config.path.open("a") as out:
            out.writelines(lines)

    async def run(self) -> None:
        pass

    def routes(self) -> Sequence[Any]:
        return ()
