"""The TLS collector against blackbox_exporter, and one scan of 20,000 endpoints, some of them slow."""

import resource
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import uvloop

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, Issued, make_ca, make_certificate
from collectors.tls import TLSCollector, TLSConfig
from tests.bench.result import Result
from tests.support.blackbox import Blackbox, blackbox
from tests.support.nginx import Nginx, NginxServer, nginx

NAME = "www.example.com"
#: All of 127.0.0.0/8 answers.
EVERYWHERE = "0.0.0.0"  # noqa: S104 - loopback is what is probed
ROUNDS = 9
#: Probes a round of each, a power of two: ours are the addresses of a network.
PROBES = 1024


def _server_certificate() -> Issued:
    root = make_ca("Bench Root")
    return make_certificate(
        names=[f"dns:{NAME}"], issuer=make_ca("Bench Intermediate", issuer=root, key_number=101)
    )


async def _scan(config: dict[str, Any]) -> tuple[int, int, float]:
    """Collected: with a chain, with an error, and seconds until the last chain came."""
    collector = TLSCollector("bench", TLSConfig.model_validate(config), CollectorContext(clock=FakeClock()))
    begun = time.perf_counter()
    good = bad = 0
    last = 0.0
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
    async with aclosing(stream):
        async for each in stream:
            if isinstance(each, Observation) and each.chain:
                good += 1
                last = time.perf_counter() - begun
            else:
                bad += 1
    return good, bad, last


def _ours(server: Nginx, round_number: int) -> float:
    """CPU seconds a probe of a whole scan, the event loop's start included."""
    config = {"targets": [f"127.{round_number + 1}.0.0/22:{server.port}"], "server_name": NAME}
    begun = time.process_time()
    good, bad, _ = uvloop.run(_scan(config))
    spent = time.process_time() - begun
    if (good, bad) != (PROBES, 0):
        raise RuntimeError(f"{good} chains and {bad} errors of {PROBES} probes")
    return spent / PROBES


def _theirs(server: Nginx, peer: Blackbox) -> float:
    begun = peer.cpu_seconds()
    peer.probe(f"127.0.0.1:{server.port}", PROBES)
    return (peer.cpu_seconds() - begun) / PROBES


def _against_blackbox() -> Result:
    certificate = _server_certificate()
    with tempfile.TemporaryDirectory() as folder:
        server = NginxServer(
            chain_pem=certificate.chain_pem, key_pem=certificate.key_pem, names=(NAME,), host=EVERYWHERE
        )
        with nginx(Path(folder), [server]) as running, blackbox(Path(folder), NAME) as peer:
            _ours(running, ROUNDS)
            _theirs(running, peer)
            # In turns, so that both meet the same noise of the machine.
            pairs = [(_ours(running, number), _theirs(running, peer)) for number in range(ROUNDS)]
    ours = statistics.median(pair[0] for pair in pairs)
    theirs = statistics.median(pair[1] for pair in pairs)
    return Result(
        what="TLS: client CPU a full handshake, against blackbox_exporter",
        measured=ours / theirs,
        unit="x",
        target=0.75,
        how=f"{ours * 1e6:.0f} µs against {theirs * 1e6:.0f} µs; medians of {ROUNDS} rounds of {PROBES} probes,"
        " TLS 1.3, P-256 chain of two, same nginx, whole scan by uvloop against whole scrape",
    )


ENDPOINTS = 20_000
#: One endpoint in so many never answers.
SLOW_ONE_IN = 100
SLOW_TIMEOUT = 4.0


def _many(server: Nginx, silent_port: int | None) -> list[str]:
    """Endpoints one by one; with `silent_port`, the slow ones among them."""
    targets = []
    for number in range(ENDPOINTS):
        port = server.port
        if number % SLOW_ONE_IN == SLOW_ONE_IN // 2:
            if silent_port is None:
                continue
            port = silent_port
        targets.append(f"127.{40 + (number >> 16)}.{number >> 8 & 255}.{number & 255}:{port}")
    return targets


def _with_slow_ones() -> list[Result]:
    certificate = _server_certificate()
    with (
        tempfile.TemporaryDirectory() as folder,
        # Connections are completed by the kernel and never accepted: a tarpit that costs nothing.
        socket.create_server((EVERYWHERE, 0), backlog=1024) as tarpit,
    ):
        server = NginxServer(chain_pem=certificate.chain_pem, key_pem=certificate.key_pem, host=EVERYWHERE)
        with nginx(Path(folder), [server]) as running:
            options = {"server_name": NAME, "timeout": SLOW_TIMEOUT}
            good, bad, alone = uvloop.run(_scan({"targets": _many(running, None)} | options))
            if bad:
                raise RuntimeError(f"{bad} errors of {good + bad} probes")
            begun = time.perf_counter()
            silent = int(tarpit.getsockname()[1])
            good, bad, beside = uvloop.run(_scan({"targets": _many(running, silent)} | options))
            whole = time.perf_counter() - begun
            if good + bad != ENDPOINTS or bad != ENDPOINTS // SLOW_ONE_IN:
                raise RuntimeError(f"{bad} errors of {good + bad} probes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Result(
            what="TLS: memory of a scan of 20,000 endpoints, 1 % of them slow",
            measured=peak,
            unit="MiB",
            target=200,
            how="peak of the whole process, interpreter and both scans included",
        ),
        Result(
            what="TLS: time to the last fast endpoint, slow ones beside it",
            measured=beside / alone,
            unit="x",
            target=1.25,
            how=f"{beside:.1f} s against {alone:.1f} s without them; whole scan {whole:.1f} s,"
            f" a slow endpoint's limit is {SLOW_TIMEOUT:g} s",
        ),
    ]


def run() -> list[Result]:
    return [_against_blackbox(), *_with_slow_ones()]
