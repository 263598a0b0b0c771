"""`/probe` against blackbox_exporter: requests a second of one processor, on the same nginx, by the same client."""

import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.bench.bench_tls import NAME, _server_certificate
from tests.bench.result import Result
from tests.support.blackbox import Blackbox, blackbox
from tests.support.daemon import certwatch
from tests.support.nginx import NginxServer, nginx

ROUNDS = 7
#: Connections of the client, each with one request under way, as Prometheus with many targets.
CONNECTIONS = 8
PROBES = 60


def _cpu_a_probe(peer: Blackbox, target: str) -> float:
    """Seconds of the server's process."""
    begun = peer.cpu_seconds()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for each in [pool.submit(peer.probe, target, PROBES) for _ in range(CONNECTIONS)]:
            each.result()
    return (peer.cpu_seconds() - begun) / (CONNECTIONS * PROBES)


def run() -> list[Result]:
    certificate = _server_certificate()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = NginxServer(chain_pem=certificate.chain_pem, key_pem=certificate.key_pem, names=(NAME,))
        with nginx(folder, [server]) as running, blackbox(folder, NAME) as theirs:
            home = folder / "certwatch"
            home.mkdir()
            with certwatch(home) as daemon:
                text = daemon.config.read_text()
                daemon.config.write_text(text.replace("listen:", f"probe: {folder}/blackbox.yml, listen:"))
                if daemon.ask("/-/reload", method="POST").status != 200:
                    raise RuntimeError(daemon.log)
                ours = Blackbox(port=daemon.port, process=psutil.Process(daemon.process.pid))
                target = f"127.0.0.1:{running.port}"
                _cpu_a_probe(ours, target)
                _cpu_a_probe(theirs, target)
                # In turns, so that both meet the same noise of the machine.
                pairs = [(_cpu_a_probe(ours, target), _cpu_a_probe(theirs, target)) for _ in range(ROUNDS)]
    mine = statistics.median(pair[0] for pair in pairs)
    peer = statistics.median(pair[1] for pair in pairs)
    return [
        Result(
            what="/probe: requests a second of one core, against blackbox_exporter's",
            measured=peer / mine,
            unit="x",
            target=1.0,
            at_least=True,
            how=f"{1 / mine:,.0f} against {1 / peer:,.0f} a second; medians of {ROUNDS} rounds of"
            f" {CONNECTIONS * PROBES} probes over {CONNECTIONS} connections, TLS 1.3, P-256 chain of two, same nginx,"
            " HTTP scrape included",
        )
    ]
