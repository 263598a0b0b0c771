"""The page that Prometheus scrapes: bytes kept ready, so that a scrape computes nothing of what did not change."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any, ClassVar, cast

from prometheus_client import exposition as text_format
from prometheus_client.openmetrics import exposition as openmetrics_format
from pydantic import BeforeValidator, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.plugins.negotiation import takes_gzip, weights
from certwatch.telemetry.metrics import REGISTRY
from exporters.prometheus.compatible.ssl import SSLMetrics
from exporters.prometheus.compatible.x509 import X509Metrics
from exporters.prometheus.exposition import OPENMETRICS, TEXT, Piece, gzipped
from exporters.prometheus.index import Index
from exporters.prometheus.probe.modules import Modules, read_modules
from exporters.prometheus.probe.route import Probes

#: Bytes handed to the connection at once.
PORTION = 1 << 18


class PrometheusConfig(ExporterConfig):
    #: Address and port of certwatch's HTTP port: metrics, health, the page.
    listen: str = "127.0.0.1:9719"
    #: Web config file of the Prometheus exporter-toolkit: TLS, client certificates, basic auth. None: plain HTTP.
    web_config: Annotated[str, Field(min_length=1)] | None = None
    #: False: aggregates only, no series for each certificate and location.
    per_certificate: bool = True
    #: `/probe`, as blackbox_exporter answers it: its config file; true: with a few modules that are built in.
    probe: Annotated[
        Modules | None,
        BeforeValidator(read_modules),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 1}]}),
    ] = None
    #: True: x509-certificate-exporter's `x509_*` as well.
    x509_metrics: bool = False
    #: True: ssl_exporter's `ssl_*` as well.
    ssl_metrics: bool = False


class PrometheusExporter:
    Config: ClassVar[type[ExporterConfig]] = PrometheusConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, PrometheusConfig)  # noqa: S101
        self.config = config
        self._context = context
        # Replaced whole by start, changed by publish; both on the event loop, never at once.
        self._index = self._empty()
        self._probes = (
            Probes(config.probe, ssl_metrics=config.ssl_metrics, clock=context.clock)
            if config.probe
            else None
        )

    def _empty(self) -> Index:
        config = self.config
        compatible: list[X509Metrics | SSLMetrics] = [
            *([X509Metrics()] if config.x509_metrics else []),
            *([SSLMetrics()] if config.ssl_metrics else []),
        ]
        return Index(per_certificate=config.per_certificate, clock=self._context.clock, compatible=compatible)

    async def start(self) -> None:
        self._index = await asyncio.to_thread(self._build)

    def _build(self) -> Index:
        index = self._empty()
        view = self._context.view
        for served in view.live():
            index.put(served)
        index.open(view.open_findings())
        for scan in view.last_scans():
            index.scanned(scan)
        index.render()
        return index

    async def publish(self, news: News) -> None:
        for number, served in enumerate((*news.changed, *news.retired), 1):
            self._index.put(served)
            if number % 500 == 0:
                await asyncio.sleep(0)
        self._index.resolve(news.resolved)
        self._index.open((*news.opened, *news.altered))
        for scan in news.scans:
            self._index.scanned(scan)
        for collector in news.forgotten:
            self._index.forget(collector)

    async def run(self) -> None:
        """Nothing to do by itself: it is asked."""

    def routes(self) -> Sequence[Any]:
        routes = [Route("/metrics", self._metrics, methods=["GET"])]
        if self._probes is not None:
            routes.append(self._probes.route())
        return routes

    async def _metrics(self, request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        zipped = takes_gzip(request.headers.get("accept-encoding", ""))
        pieces = self._index.pieces(openmetrics=openmetrics)
        # What certwatch says of its own work stands last: in OpenMetrics it brings the end mark.
        render = openmetrics_format.generate_latest if openmetrics else text_format.generate_latest
        pieces.append(Piece(cast("bytes", render(REGISTRY))))
        headers = {"Vary": "Accept, Accept-Encoding"} | ({"Content-Encoding": "gzip"} if zipped else {})
        body = gzipped(pieces) if zipped else (each.text for each in pieces)
        return StreamingResponse(
            _in_portions(body), headers=headers, media_type=OPENMETRICS if openmetrics else TEXT
        )


def wants_openmetrics(accept: str) -> bool:
    """OpenMetrics 1.0 is asked for, and not less than plain text."""
    offered = weights(accept)
    asked = offered.get("application/openmetrics-text", 0.0)
    return asked > 0 and asked >= offered.get("text/plain", 0.0)


async def _in_portions(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Joined to portions of a good size; the event loop runs between them."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PORTION:
            yield b"".join(waiting)
            waiting, size = [], 0
            await asyncio.sleep(0)
    yield b"".join(waiting)
