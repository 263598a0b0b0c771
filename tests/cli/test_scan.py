"""`scan`: looks without a config, says it in the promised shape, ends with the promised status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from certwatch.plugins.testing import EPOCH, FakeClock, make_ca, make_certificate
from certwatch.x509.der import fingerprint
from tests.cli.stage import run, write_config
from tests.support.servers import free_port

ROOT = make_ca("Scan Root")
BETWEEN = make_ca("Scan Intermediate", issuer=ROOT, key_number=101)
GOOD = make_certificate(names=("dns:www.example.com",), issuer=BETWEEN)
EXPIRED = make_certificate(names=("dns:old.example.com",), issuer=ROOT, not_after=EPOCH.replace(hour=0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "good.pem").write_bytes(GOOD.chain_pem)
    (tmp_path / "expired.pem").write_bytes(EXPIRED.chain_pem)
    return tmp_path


def test_the_json_has_exactly_the_promised_shape(folder: Path) -> None:
    ran = run("scan", "--json", "--trust", folder / "root.pem", folder / "expired.pem")
    assert (ran.status, ran.err) == (1, "")
    said = json.loads(ran.out)
    assert set(said) == {"observations", "findings"}
    (observation,) = said["observations"]
    assert set(observation) == {"location", "observed_at", "error", "chain", "facts"}
    assert observation["location"] == f"file://{folder}/expired.pem"
    assert observation["observed_at"] == "2026-11-01T12:00:00Z"
    assert observation["error"] is None
    assert observation["chain"] == [
        {
            "fingerprint_sha256": fingerprint(EXPIRED.der).hex(),
            "subject": "CN=old.example.com",
            "issuer": "CN=Scan Root",
            "serial_number": observation["chain"][0]["serial_number"],
            "not_before": "2026-10-02T12:00:00Z",
            "not_after": "2026-11-01T00:00:00Z",
            "names": ["dns:old.example.com"],
            "key": {"type": "ec", "bits": 256, "curve": "secp256r1"},
            "signature_algorithm": "ecdsa-with-SHA256",
            "is_ca": False,
        }
    ]
    (finding,) = [each for each in said["findings"] if each["rule"] == "expiry"]
    assert set(finding) == {"rule", "severity", "location", "fingerprint_sha256", "summary"}
    assert finding["location"] == observation["location"]
    assert finding["fingerprint_sha256"] == fingerprint(EXPIRED.der).hex()


def test_what_is_fine_ends_well(folder: Path) -> None:
    ran = run("scan", "--trust", folder / "root.pem", folder / "good.pem")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[1].endswith("ok")


def test_a_chain_is_judged_by_the_roots_that_are_given(folder: Path) -> None:
    other = folder / "other.pem"
    other.write_bytes(make_ca("Other Root", key_number=102).pem)

    def rules(trust: Path) -> set[str]:
        said = json.loads(run("scan", "--json", "--trust", trust, folder / "good.pem").out)
        return {each["rule"] for each in said["findings"]}

    assert rules(folder / "root.pem") == set()
    assert rules(other) == {"chain-untrusted"}


def test_a_target_that_fails_ends_nothing(folder: Path) -> None:
    ran = run(
        "scan", "--json", "--trust", folder / "root.pem", f"127.0.0.1:{free_port()}", folder / "good.pem"
    )
    said = json.loads(ran.out)
    assert ran.status == 0
    assert [each["error"] and each["error"]["kind"] for each in said["observations"]] == [None, "refused"]


def test_a_scan_that_saw_nothing_could_not_do_what_was_asked(folder: Path) -> None:
    ran = run("scan", "--trust", folder / "root.pem", f"127.0.0.1:{free_port()}")
    assert ran.status == 3
    assert "refused" in ran.out
    assert run("scan", folder / "absent.pem", "--trust", folder / "root.pem").status == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["scan"], "Missing argument"),
        (["scan", "a b"], "'a b' is not a host name"),
        (["scan", "host", "--protocol", "pop9"], "unknown protocol 'pop9'"),
        (["scan", "host", "--timeout", "0"], "not in the range"),
        (["scan", "host", "--trust", "/nonexistent"], "/nonexistent cannot be read"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(args: list[str], message: str) -> None:
    ran = run(*args)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_a_scan_can_be_put_into_the_inventory_and_retires_nothing(folder: Path) -> None:
    clock = FakeClock()
    config = write_config(folder)
    trust = folder / "root.pem"
    for name in ("good.pem", "expired.pem"):
        clock.advance(hours=1)
        run("-c", config, "scan", "--insert", "--trust", trust, folder / name, clock=clock)
    listed = json.loads(run("-c", config, "list", "--json", clock=clock).out)["certificates"]
    assert [(each["subject"], each["presence"]) for each in listed] == [
        ("CN=old.example.com", "stored"),
        ("CN=www.example.com", "stored"),
        ("CN=Scan Intermediate", "stored"),
    ]
    assert "expiry" in run("-c", config, "findings", clock=clock).out


def test_hostile_names_do_not_reach_the_terminal(folder: Path) -> None:
    hostile = make_certificate(names=("dns:www.example.com",), subject="\x1b[31m\u202eevil", issuer=ROOT)
    (folder / "hostile.pem").write_bytes(hostile.pem)
    for more in ([], ["--json"]):
        ran = run("scan", "--trust", folder / "root.pem", folder / "hostile.pem", *more)
        assert all(line.isprintable() for line in (ran.out + ran.err).splitlines())


def test_an_interrupted_scan_says_what_it_has(folder: Path) -> None:
    # A listener that never answers: the scan waits for its greeting until it is interrupted.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as tarpit:
        port = tarpit.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "certwatch", "scan", "--json", "--timeout", "60", "--trust",
             folder / "root.pem", f"127.0.0.1:{port}", folder / "good.pem"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "XDG_DATA_HOME": str(folder)},
            # What a shell puts into the background is deaf to it, and hands that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        tarpit.settimeout(15)
        connection, _ = tarpit.accept()
        with connection:
            connection.settimeout(15)
            assert connection.recv(1)  # its ClientHello: it is under way
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=15)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert set(json.loads(out)) == {"observations", "findings"}


def test_the_empty_addresses_of_a_network_are_counted_and_not_listed() -> None:
    ran = run("scan", f"127.0.0.0/29:{free_port()}")
    assert (ran.status, ran.out) == (0, "")
    assert "certwatch: 8 of the addresses looked at showed no certificate" in ran.err
