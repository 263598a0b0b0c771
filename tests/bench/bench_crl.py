"""A CRL of a million entries: what reading it costs, whom it holds up, how certificates are found in it."""

import asyncio
import gc
import time
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certwatch.plugins.testing import EPOCH, make_ca
from certwatch.x509.der import read
from collectors.revocation import lists
from collectors.revocation.crl_index import CRLIndex
from tests.bench.bench_engine import _longest_pause
from tests.bench.result import Result

ENTRIES = 1_000_000
FIRST, STEP = 0x5ADDBEEF_00000000_00000001, 7919
CA = make_ca("Large CA")


def _body() -> bytes:
    made = EPOCH.replace(tzinfo=None)
    entries = [
        x509.RevokedCertificateBuilder().serial_number(FIRST + STEP * number).revocation_date(made).build()
        for number in range(ENTRIES)
    ]
    # The builder takes them one by one, each time with all before; its constructor takes them all.
    builder = x509.CertificateRevocationListBuilder(
        CA.certificate.subject, made, made + timedelta(days=7), [], entries
    )
    return builder.sign(CA.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _status(name: str) -> float:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) / 1024


async def _load(body: bytes) -> tuple[CRLIndex, float, float]:
    done = asyncio.Event()
    pause = asyncio.create_task(_longest_pause(done))
    began = time.process_time()
    index = await asyncio.to_thread(lists.load, "http://crl.example.com/large.crl", body)
    if not await asyncio.to_thread(lists.is_verified, index, [read(CA.der)]):
        raise AssertionError("its signature was not verified")
    seconds = time.process_time() - began
    done.set()
    return index, seconds, await pause


def run() -> list[Result]:
    body = _body()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    index, seconds, pause = asyncio.run(_load(body))
    peak = _status("VmHWM") - before + len(body) / (1 << 20)
    began = time.process_time()
    for number in range(10_000):
        assert index.get_revoked_certificate_by_serial_number(FIRST + STEP * number + 1) is None
    miss = (time.process_time() - began) / 10_000
    began = time.process_time()
    for number in range(1000):
        assert index.get_revoked_certificate_by_serial_number(FIRST + STEP * 900 * number)
    hit = (time.process_time() - began) / 1000
    how = f"{ENTRIES:,} entries, {len(body) / 1e6:.0f} MB, one core"
    return [
        Result(what="CRL: read and its signature verified", measured=seconds, unit="s", how=how),
        Result(
            what="CRL: memory at its peak, the list included",
            measured=peak,
            unit="MiB",
            target=300,
            how=how,
        ),
        Result(
            what="CRL: longest pause of the event loop meanwhile",
            measured=pause * 1e3,
            unit="ms",
            target=250,
            how=how,
        ),
        Result(what="CRL: look-up, not in it", measured=miss * 1e6, unit="µs", target=100, how=how),
        Result(what="CRL: look-up, revoked", measured=hit * 1e6, unit="µs", target=1000, how=how),
    ]
