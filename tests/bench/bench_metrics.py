"""`/metrics` with 100,000 certificates while a scan writes, over real HTTP."""

import asyncio
import hashlib
import resource
import time
from dataclasses import replace
from datetime import timedelta

import httpx
import uvicorn
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette

from certwatch.model.certificate import Fingerprint
from certwatch.model.location import Location, tls_location
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock, make_certificate
from exporters.prometheus import PrometheusConfig, PrometheusExporter
from tests.bench.result import Result
from tests.exporters.test_prometheus import View
from tests.support.servers import free_port, wait_until
from tests.support.serving import INTERMEDIATE, served

LOCATIONS = 100_000
#: Two hundred certificates replaced a second, all over the inventory.
CHANGED_A_ROUND = 10

TEMPLATE = served((make_certificate(issuer=INTERMEDIATE),))
LEAF = TEMPLATE.chain[0]


def place(number: int, generation: int = 0) -> Served:
    fingerprint = Fingerprint(hashlib.sha256(b"%d %d" % (number, generation)).digest())
    leaf = replace(LEAF, fingerprint_sha256=fingerprint, not_after=EPOCH + timedelta(minutes=number))
    uri = tls_location(
        f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 443, server_name="www.example.com"
    )
    return replace(
        TEMPLATE, id=number, location=Location(uri=uri, labels={"environment": "prod"}), chain=(leaf,)
    )


def peer_seconds() -> float:
    """prometheus_client rendering the same number of labelled series."""
    registry = CollectorRegistry()
    gauge = Gauge(
        "not_after", "End.", ["location", "position", "fingerprint", "name", "owner"], registry=registry
    )
    for number in range(LOCATIONS):
        uri = f"tls://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:443/?sni=www.example.com"
        gauge.labels(uri, "0", f"{number:064x}", "www.example.com", "payments").set(number)
    started = time.perf_counter()
    generate_latest(registry)
    return time.perf_counter() - started


async def measure(exporter: PrometheusExporter, locations: int, *, zipped: bool) -> tuple[float, float, int]:
    """First byte, whole, bytes: the worst of five scrapes while changes come in without a pause."""
    port = free_port()
    config = uvicorn.Config(
        Starlette(routes=exporter.routes()), host="127.0.0.1", port=port, log_level="error"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    writing = asyncio.create_task(write(exporter, locations))
    await asyncio.to_thread(wait_until, lambda: server.started, what="the page")
    first = whole = 0.0
    size = 0
    for _ in range(5):
        first_byte, total, size = await asyncio.to_thread(scrape, port, zipped)
        first, whole = max(first, first_byte), max(whole, total)
    writing.cancel()
    server.should_exit = True
    await asyncio.gather(serving, writing, return_exceptions=True)
    return first, whole, size


async def write(exporter: PrometheusExporter, locations: int) -> None:
    generation = 0
    while True:
        generation += 1
        numbers = [
            (generation * CHANGED_A_ROUND + each) * 7919 % locations for each in range(CHANGED_A_ROUND)
        ]
        changed = tuple(place(number, generation) for number in numbers)
        await exporter.publish(News(changed=changed))
        await asyncio.sleep(0.05)


def scrape(port: int, zipped: bool) -> tuple[float, float, int]:
    started = time.perf_counter()
    headers = {"accept-encoding": "gzip" if zipped else "identity"}
    with httpx.stream("GET", f"http://127.0.0.1:{port}/metrics", headers=headers) as answer:
        parts = answer.iter_raw()
        size = len(next(parts))
        first = time.perf_counter() - started
        size += sum(map(len, parts))
    return first, time.perf_counter() - started, size


def run() -> list[Result]:
    results = []
    # Four series a location with one certificate. The targets are set for 100,000 series.
    for locations, targets in ((25_000, (100.0, 1.0)), (LOCATIONS, (None, None))):
        exporter, grown = started(locations)
        for zipped in (False, True):
            first, whole, size = asyncio.run(measure(exporter, locations, zipped=zipped))
            how = f"{4 * locations:,} series, {size / 1e6:.0f} MB, {'gzip' if zipped else 'plain'}, changes all the while"
            results.append(
                Result(
                    what="/metrics, first byte", measured=first * 1000, unit="ms", target=targets[0], how=how
                )
            )
            results.append(
                Result(what="/metrics, whole", measured=whole, unit="s", target=targets[1], how=how)
            )
    how = f"{LOCATIONS:,} labelled series, without HTTP: the peer"
    results.append(Result(what="prometheus_client rendering", measured=peer_seconds(), unit="s", how=how))
    how = f"growth of peak RSS, {LOCATIONS:,} locations"
    results.append(Result(what="memory a location in the exporter", measured=grown, unit="bytes", how=how))
    return results


def started(locations: int) -> tuple[PrometheusExporter, float]:
    """An exporter that knows so many locations, and what each cost it in bytes."""
    places = [place(number) for number in range(locations)]
    context = ExporterContext(clock=FakeClock(), view=View(places))
    exporter = PrometheusExporter("bench", PrometheusConfig(), context)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(exporter.start())
    return exporter, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / locations
