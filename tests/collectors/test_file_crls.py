"""Revocation lists in files: places that show no certificates, but themselves."""

import base64
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwatch.model.location import file_location
from certwatch.model.observation import FACTS, Observation
from certwatch.plugins.testing import EPOCH, collect, make_ca, make_certificate
from certwatch.x509.tlv import encode
from collectors.file import FileCollector
from tests.x509.test_crl import make_crl

pytestmark = pytest.mark.anyio

ROOT = make_ca()
LEAF = make_certificate(issuer=ROOT)
CRL = make_crl((x509.CRLNumber(4711), False))


async def look(*paths: Path, **config: Any) -> list[Observation]:
    results = await collect(FileCollector, {"paths": [str(path) for path in paths], **config})
    assert all(isinstance(each, Observation) for each in results), results
    return [each for each in results if isinstance(each, Observation)]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pem(data: bytes) -> bytes:
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(data) + b"-----END X509 CRL-----\n"


def large_crl(entries: int) -> bytes:
    """DER of a list of so many, unsigned: no library makes it in reasonable time."""
    entry = encode(0x30, encode(0x02, b"\x01" * 16) + encode(0x17, b"261101000000Z"))
    algorithm = encode(0x30, encode(0x06, bytes.fromhex("2a8648ce3d040302")))
    times = encode(0x17, b"261101000000Z") + encode(0x17, b"261108000000Z")
    name = ROOT.certificate.subject.public_bytes()
    tbs = encode(0x30, encode(0x02, b"\x01") + algorithm + name + times + encode(0x30, entry * entries))
    return encode(0x30, tbs + algorithm + encode(0x03, b"\x00" * 64))


@pytest.mark.parametrize("data", [CRL, pem(CRL), b"text before\n" + pem(CRL)], ids=["der", "pem", "text"])
async def test_a_list_is_the_files_own_place(data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "root.crl", data)
    (found,) = await look(path)
    assert (found.location, found.chain, found.error) == (file_location(str(path)), (), None)
    assert found.facts == {
        "crl_issuer": "CN=Test Root",
        "crl_number": "4711",
        "crl_kind": "full",
        "crl_this_update": EPOCH.isoformat().replace("+00:00", "Z"),
        "crl_next_update": (EPOCH + timedelta(days=7)).isoformat().replace("+00:00", "Z"),
        "crl_entries": 3,
        "crl_bytes": len(CRL),
        "crl_signature_algorithm": "ecdsa-with-SHA256",
    }
    assert set(found.facts) <= set(FACTS)


@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        (x509.DeltaCRLIndicator(4000), "delta"),
        (
            x509.IssuingDistributionPoint(None, None, True, False, None, False, False),
            "partition",
        ),
        (
            x509.IssuingDistributionPoint(None, None, False, False, None, True, False),
            "indirect",
        ),
    ],
)
async def test_what_a_list_covers_is_told(extension: x509.ExtensionType, kind: str, tmp_path: Path) -> None:
    (found,) = await look(write(tmp_path / "x.crl", make_crl((extension, True))))
    assert found.facts["crl_kind"] == kind


async def test_lists_beside_certificates_and_one_another_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "all.pem", pem(CRL) + LEAF.pem + pem(make_crl(entries=1)))
    own, first, second = await look(path)
    assert (own.location, own.chain) == (file_location(str(path)), (LEAF.der,))
    assert [each.location for each in (first, second)] == [
        file_location(str(path), "crl/1"),
        file_location(str(path), "crl/2"),
    ]
    assert [each.facts["crl_entries"] for each in (first, second)] == [3, 1]
    two = await look(write(tmp_path / "two.pem", pem(CRL) * 2))
    assert [each.location[-6:] for each in two] == ["#crl/1", "#crl/2"]


async def test_lists_inside_pkcs7_are_found(tmp_path: Path) -> None:
    # crls [1] stands behind certificates [0] (RFC 5652, 5.1); the library writes none.
    oid = encode(0x06, bytes.fromhex("2a864886f70d010702"))
    empty = encode(0x30, encode(0x06, bytes.fromhex("2a864886f70d010701")))
    version, none = encode(0x02, b"\x01"), encode(0x31, b"")
    signed = encode(0x30, version + none + empty + encode(0xA0, ROOT.der) + encode(0xA1, CRL) + none)
    path = write(tmp_path / "y.p7b", encode(0x30, oid + encode(0xA0, signed)))
    own, listed = await look(path)
    assert own.chain == (ROOT.der,)
    assert listed.location == file_location(str(path), "crl/1")
    assert (listed.facts["crl_number"], listed.facts["container"]) == ("4711", "pkcs7")


async def test_a_list_that_is_cut_off_is_an_error_with_what_could_be_read(tmp_path: Path) -> None:
    (found,) = await look(write(tmp_path / "cut.crl", CRL[:-200]))
    assert found.error is not None
    assert found.error.kind in ("malformed", "no-certificate")
    damaged = CRL.replace(encode(0x02, b"\x12\x67"), encode(0x04, b"\x12\x67"))
    (found,) = await look(write(tmp_path / "damaged.crl", damaged))
    assert found.error is not None
    assert found.error.kind == "malformed"
    assert found.facts["crl_next_update"] == (EPOCH + timedelta(days=7)).isoformat().replace("+00:00", "Z")


async def test_an_unchanged_list_is_not_read_again(tmp_path: Path) -> None:
    from certwatch.plugins.collector import CollectorContext
    from certwatch.plugins.testing import FakeClock
    from collectors.file import FileConfig

    path = write(tmp_path / "root.crl", CRL)
    collector = FileCollector("x", FileConfig(paths=(str(path),)), CollectorContext(clock=FakeClock()))
    first = [each async for each in collector.collect()]
    path.chmod(0o000)
    path.chmod(0o600)
    second = [each async for each in collector.collect()]
    assert isinstance(first[0], Observation)
    assert isinstance(second[0], Observation)
    assert first[0].facts == second[0].facts


@pytest.mark.parametrize("form", ["der", "pem"])
async def test_a_list_beyond_max_bytes_is_read_up_to_max_crl_bytes(form: str, tmp_path: Path) -> None:
    data = large_crl(40_000)
    path = write(tmp_path / "big.crl", data if form == "der" else pem(data))
    (found,) = await look(path, max_bytes=1 << 16)
    assert found.error is None
    assert found.facts["crl_entries"] == 40_000
    (found,) = await look(path, max_bytes=1 << 16, max_crl_bytes=1 << 17)
    assert found.error is not None
    assert "Raise max_crl_bytes" in found.error.message


_MEASURE = r"""
import asyncio, re, sys
from pathlib import Path
from certwatch.plugins.testing import collect
from collectors.file import FileCollector
async def main():
    loop, worst = asyncio.get_running_loop(), 0.0
    async def beat():
        nonlocal worst
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            worst = max(worst, loop.time() - before - 0.005)
    task = asyncio.create_task(beat())
    (found,) = await collect(FileCollector, {"paths": [sys.argv[1]]})
    task.cancel()
    # Not ru_maxrss, which a process inherits from the one that started it.
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print(found.facts["crl_entries"], int(peak[1]) // 1024, worst)
asyncio.run(main())
"""


@pytest.mark.bench
@pytest.mark.parametrize("form", ["der", "pem"])
def test_a_million_entries_cost_little_memory_and_do_not_hold_the_loop(form: str, tmp_path: Path) -> None:
    data = large_crl(1_000_000)
    path = write(tmp_path / "big.crl", data if form == "der" else pem(data))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=20
    )
    entries, mebibytes, worst = done.stdout.split()
    assert int(entries) == 1_000_000
    assert int(mebibytes) < 300, done.stdout
    # Reading it on the loop would hold that for longer, though other work shares the machine.
    assert float(worst) < 0.5, done.stdout
