"""Sweeps: a glance against a full handshake, and a network with little in it.

`CERTWATCH_BENCH_FULL=1`: the network in its full size, 65,536 addresses by four ports, which takes a minute and a half at 3,000 a second.
"""

import os
import resource
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
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import free_port

NAME = "www.example.com"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - loopback is what is probed
ROUNDS = 7
#: Probes a round of each: the addresses of a network.
PROBES = 4096

FULL = bool(os.environ.get("CERTWATCH_BENCH_FULL"))
#: Bits of addresses.
BITS = 16 if FULL else 13
PORTS = 4
RATE = 3000.0
#: One endpoint in so many is alive: one address in 25, at one of four ports.
ALIVE_ONE_IN = 100


def _server_certificate() -> Issued:
    root = make_ca("Bench Root")
    return make_certificate(
        names=[f"dns:{NAME}"], issuer=make_ca("Bench Intermediate", issuer=root, key_number=101)
    )


async def _scan(config: dict[str, Any]) -> tuple[int, int]:
    """With a chain, and without one."""
    collector = TLSCollector("bench", TLSConfig.model_validate(config), CollectorContext(clock=FakeClock()))
    good = bad = 0
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
    async with aclosing(stream):
        async for each in stream:
            if isinstance(each, Observation) and each.chain:
                good += 1
            else:
                bad += 1
    return good, bad


def _cpu(port: int, number: int, *, sweep: bool) -> float:
    """CPU seconds an endpoint of a whole scan, the event loop's start included."""
    config = {"targets": [f"127.{number + 1}.0.0/20:{port}"], "server_name": NAME, "sweep": sweep}
    begun = time.process_time()
    seen = uvloop.run(_scan(config))
    spent = time.process_time() - begun
    if seen != (PROBES, 0):
        raise RuntimeError(f"{seen[0]} chains and {seen[1]} errors of {PROBES} probes")
    return spent / PROBES


def _against_handshakes() -> Result:
    certificate = _server_certificate()
    with tempfile.TemporaryDirectory() as folder:
        server = NginxServer(
            chain_pem=certificate.chain_pem, key_pem=certificate.key_pem, names=(NAME,), host=EVERYWHERE
        )
        with nginx(Path(folder), [server]) as running:
            _cpu(running.port, 0, sweep=True)
            # In turns, so that both meet the same noise of the machine.
            pairs = [
                (_cpu(running.port, number, sweep=True), _cpu(running.port, number, sweep=False))
                for number in range(ROUNDS)
            ]
    glance = statistics.median(pair[0] for pair in pairs)
    full = statistics.median(pair[1] for pair in pairs)
    return Result(
        what="Sweep: client CPU an endpoint, against our full handshake",
        measured=statistics.median(pair[0] / pair[1] for pair in pairs),
        unit="x",
        target=0.2,
        how=f"{glance * 1e6:.0f} µs against {full * 1e6:.0f} µs; medians of {ROUNDS} rounds of {PROBES} endpoints,"
        " P-256 chain of two, same nginx (TLS 1.2 and 1.3), whole scans by uvloop",
    )


def _network_with_little_in_it() -> list[Result]:
    certificate = _server_certificate()
    addresses = 1 << BITS
    port = free_port()
    ports = [port, *(free_port() for _ in range(PORTS - 1))]
    step = ALIVE_ONE_IN // PORTS
    alive = [f"127.64.{(number >> 8) & 255}.{number & 255}" for number in range(step // 2, addresses, step)]
    with tempfile.TemporaryDirectory() as folder:
        server = NginxServer(
            chain_pem=certificate.chain_pem,
            key_pem=certificate.key_pem,
            host=alive[0],
            port=port,
            directives="\n".join(f"listen {each}:{port} ssl;" for each in alive[1:]),
        )
        with nginx(Path(folder), [server]):
            network = f"127.64.0.0/{32 - BITS}:{','.join(map(str, sorted(set(ports))))}"
            begun = time.perf_counter()
            good, bad = uvloop.run(
                _scan({"targets": [network], "server_name": NAME, "sweep": True, "rate": RATE})
            )
            took = time.perf_counter() - begun
    endpoints = addresses * len(set(ports))
    if good != len(alive) or good + bad != endpoints:
        raise RuntimeError(f"{good} of {len(alive)} alive found, {good + bad} of {endpoints} looked at")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = f"{addresses:,} addresses by {len(set(ports))} ports, {len(alive)} alive"
    return [
        Result(
            what="Sweep: time of a network with 1 % alive, against what the rate allows",
            measured=took / (endpoints / RATE),
            unit="x",
            target=1.1,
            how=f"{size}; {took:.1f} s at {RATE:g} a second"
            + ("" if FULL else "; CERTWATCH_BENCH_FULL=1: all of 65,536"),
        ),
        Result(
            what="Sweep: memory of it",
            measured=peak,
            unit="MiB",
            target=150,
            how=f"{size}; peak of the whole process, interpreter and the scans before included",
        ),
    ]


def run() -> list[Result]:
    return [_against_handshakes(), *_network_with_little_in_it()]
