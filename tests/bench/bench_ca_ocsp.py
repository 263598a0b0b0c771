"""The OCSP responder of the daemon against `openssl ocsp`: answers by HTTP, counted by the server's own CPU, and how long they take at
half of the load."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.ocsp import OCSPRequestBuilder

from certwatch.ca.issue import Certified
from certwatch.model.clock import system_clock
from tests.bench.result import Result
from tests.support.cas import authority, issued
from tests.support.daemon import certwatch
from tests.support.servers import free_port, wait_until

CERTIFICATES = 50
CONNECTIONS = 16
SECONDS = 3.0


def _posts(certificates: Sequence[Certified], path: str, *, keep: bool) -> list[bytes]:
    found = []
    for each in certificates:
        der = (
            OCSPRequestBuilder()
            .add_certificate(each.certificate, each.issuer.certificate, SHA1())  # noqa: S303 - names the certificate
            .build()
            .public_bytes(Encoding.DER)
        )
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\n"
            f"Content-Length: {len(der)}\r\n{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n"
        )
        found.append(head.encode() + der)
    return found


async def _asking(port: int, posts: list[bytes], *, keep: bool, a_second: float | None = None) -> list[float]:
    """As many as can be asked in `SECONDS` by `CONNECTIONS` at once, or so many a second: how long each took."""
    took: list[float] = []
    begun = time.perf_counter()
    sent = 0

    async def client(offset: int) -> None:
        nonlocal sent
        number, streams = offset, None
        while (now := time.perf_counter()) - begun < SECONDS:
            if a_second is not None:
                due = begun + sent / a_second
                sent += 1
                if due > now:
                    await asyncio.sleep(due - now)
            started = time.perf_counter()
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(posts[number % len(posts)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:16], head
            if keep:
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
            else:
                await reader.read()
                writer.close()
                streams = None
            took.append(time.perf_counter() - started)
            number += 1
        if streams is not None:
            streams[1].close()

    await asyncio.gather(*(client(offset) for offset in range(CONNECTIONS if keep else 4)))
    return took


def _cpu(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def _rates(pid: int, port: int, posts: list[bytes], *, keep: bool) -> tuple[float, float]:
    """Answers a second of the server's CPU, and of the clock."""
    asyncio.run(_asking(port, posts, keep=keep, a_second=200))
    before, begun = _cpu(pid), time.perf_counter()
    count = len(asyncio.run(_asking(port, posts, keep=keep)))
    return count / (_cpu(pid) - before), count / (time.perf_counter() - begun)


def run() -> list[Result]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with authority(folder, system_clock) as ca:
            certificates = [issued(ca, f"dns:h{number}.example.com") for number in range(CERTIFICATES)]
            key = ca.keys.open(ca.issuer().key)
            _openssl_files(folder, certificates, key)
        theirs, their_clock = _openssl(folder, certificates)
        plain = free_port()
        keys = (
            f"ca: {{directory: {folder}/ca, key_file: {folder}/ca.key, key_passphrase: in a test, lint: false,"
            f" listen: '127.0.0.1:{plain}', url: 'http://127.0.0.1:{plain}'}}\n"
        )
        with certwatch(folder, more=keys) as daemon:
            pid = daemon.process.pid
            kept, clock = _rates(pid, plain, _posts(certificates, "/ocsp/1", keep=True), keep=True)
            closed, closed_clock = _rates(pid, plain, _posts(certificates, "/ocsp/1", keep=False), keep=False)
            took = sorted(
                asyncio.run(
                    _asking(plain, _posts(certificates, "/ocsp/1", keep=True), keep=True, a_second=clock / 2)
                )
            )
    how = f"by POST, {CERTIFICATES} certificates"
    return [
        Result(
            what="OCSP answers a second of one core, connections kept",
            measured=kept,
            unit="/s",
            target=2000,
            at_least=True,
            how=f"{how}; {clock:,.0f}/s by the clock, client on the same machine",
        ),
        Result(
            what="OCSP answers against openssl ocsp, by the clock",
            measured=clock / their_clock,
            unit="times",
            target=3,
            at_least=True,
            how=f"{how}; {clock:,.0f}/s, connections kept, against {their_clock:,.0f}/s: it keeps none",
        ),
        Result(
            what="the same with a connection each",
            measured=closed_clock / their_clock,
            unit="times",
            how=f"{closed_clock:,.0f}/s; a second of CPU makes {closed:,.0f}, and {theirs:,.0f} there",
        ),
        Result(
            what="OCSP answers at half of the load, 99th percentile",
            measured=took[int(len(took) * 0.99)] * 1000,
            unit="ms",
            target=10,
            how=f"{len(took):,} answers",
        ),
    ]


def _openssl_files(folder: Path, certificates: Sequence[Certified], key: object) -> None:
    pem = key.signer._private.private_bytes(  # type: ignore[attr-defined]
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (folder / "plain.key").write_bytes(pem)
    (folder / "root.pem").write_bytes(certificates[0].issuer.certificate.public_bytes(Encoding.PEM))
    (folder / "index.txt").write_text(
        "".join(
            f"V\t{each.certificate.not_valid_after_utc:%y%m%d%H%M%SZ}\t\t{each.serial.upper()}\tunknown\t/CN={each.serial}\n"
            for each in certificates
        )
    )


def _openssl(folder: Path, certificates: Sequence[Certified]) -> tuple[float, float]:
    """It keeps no connections, and serves one at a time."""
    port = free_port()
    command: list[str | Path] = [
        "openssl", "ocsp", "-port", str(port), "-index", folder / "index.txt", "-CA", folder / "root.pem",
        "-rsigner", folder / "root.pem", "-rkey", folder / "plain.key", "-ndays", "1", "-ignore_err",
    ]  # fmt: skip
    with (folder / "openssl.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            # By its word: a connection that only looks whether it is there hangs it.
            wait_until(lambda: "ACCEPT" in (folder / "openssl.log").read_text(), what="openssl ocsp")
            rate, by_clock = _rates(process.pid, port, _posts(certificates, "/", keep=False), keep=False)
        finally:
            # It does not heed SIGTERM.
            process.kill()
            process.wait()
    return rate, by_clock
