"""The real daemon under what happens to processes: killed, told twice to stop, its disk full."""

import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import Reader
from certwatch.model.location import LocationURI
from certwatch.plugins.testing import Issued, make_certificate
from tests.support.daemon import Certwatch, certwatch, reading
from tests.support.nginx import NginxServer, nginx
from tests.support.numbered import NumberedCertificates

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(120)]


def issue(*, days: float, number: int = 1) -> Issued:
    now = datetime.now(UTC).replace(microsecond=0)
    return make_certificate(
        names=("dns:www.example.com",),
        not_before=now - timedelta(days=60),
        not_after=now + timedelta(days=days),
        key_number=number,
    )


@contextmanager
def silent() -> Iterator[int]:
    """A port that is connected to and never says anything: a scan with it in lasts until its time limit."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield int(listening.getsockname()[1])


def edge(*ports: int, every: str = "1h", timeout: int = 50) -> str:
    targets = ", ".join(f"'127.0.0.1:{port}'" for port in ports)
    return f"\n  - {{name: edge, kind: tls, every: {every}, timeout: {timeout}, targets: [{targets}]}}"


def seen(daemon: Certwatch, uri: str) -> bool:
    with reading(daemon.inventory) as reader:
        found = reader.served(LocationURI(uri))
        return found is not None and found.leaf is not None


def scans(reader: Reader) -> list[tuple[str, str]]:
    return [(each.status, each.error.message if each.error else "") for each in reader.last_scans()]


def test_killed_in_the_middle_of_a_scan_it_loses_nothing_that_was_written(tmp_path: Path) -> None:
    expiring = issue(days=1)
    with nginx(tmp_path, [NginxServer(chain_pem=expiring.pem, key_pem=expiring.key_pem)]) as server:
        uri = f"tls://127.0.0.1:{server.port}/"
        with silent() as tarpit:
            with certwatch(tmp_path, edge(server.port, tarpit), ready=False) as daemon:
                daemon.wait(lambda: seen(daemon, uri), what="the first look is written, the scan goes on")
                daemon.signal(signal.SIGKILL)
                daemon.end()
            with reading(daemon.inventory) as reader:
                assert list(reader.check()) == []
                assert scans(reader) == []
            # What was seen is judged and told by the next life before its own scan has ended.
            with certwatch(tmp_path, edge(server.port, tarpit)) as daemon:
                daemon.wait(
                    lambda: daemon.metric("certwatch_certificate_not_after_timestamp_seconds") is not None,
                    what="the series",
                )
                with reading(daemon.inventory) as reader:
                    assert "expiry" in {each.rule for each in reader.open_findings()}
                    assert [status for status, _ in scans(reader)] == ["failed"]
                    assert "the process that ran it ended before the scan did" in scans(reader)[0][1]


@pytest.mark.parametrize("moment", ["scan_started", "scan_finished", "ready"])
def test_killed_at_any_moment_it_goes_on_from_there(tmp_path: Path, moment: str) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    for number in range(20):
        (certificates / f"{number}.pem").write_bytes(issue(days=1 + number, number=number).pem)
    collectors = f"\n  - {{name: files, kind: file, every: 1s, paths: ['{certificates}/*.pem']}}"
    findings: set[str] = set()
    live: set[LocationURI] = set()
    for life in range(1, 4):
        with certwatch(tmp_path, collectors, ready=moment == "ready") as daemon:
            if moment != "ready":
                daemon.wait(lambda: daemon.log.count(moment) >= life, what=moment)  # noqa: B023
            daemon.signal(signal.SIGKILL)
            daemon.end()
        with reading(daemon.inventory) as reader:
            assert list(reader.check()) == []
            now_open = {f"{each.rule} {each.location}" for each in reader.open_findings()}
            assert findings <= now_open, "a finding was resolved by a kill"
            findings = now_open
            now_live = {each.location.uri for each in reader.live()}
            assert live <= now_live, "a location was retired by a kill"
            live = now_live
    with certwatch(tmp_path, collectors) as daemon:
        daemon.wait(lambda: daemon.status["locations"] == 20, what="everything")


def test_told_to_stop_in_the_middle_of_a_scan_it_keeps_what_was_seen(tmp_path: Path) -> None:
    expiring = issue(days=1)
    server = NginxServer(chain_pem=expiring.pem, key_pem=expiring.key_pem)
    with nginx(tmp_path, [server]) as running, silent() as tarpit:
        with certwatch(tmp_path, edge(running.port, tarpit), ready=False) as daemon:
            daemon.wait_for_log("scan_started")
            daemon.wait(lambda: seen(daemon, f"tls://127.0.0.1:{running.port}/"), what="the first look")
            daemon.signal(signal.SIGTERM)
            assert daemon.end(15) == 0
        with reading(daemon.inventory) as reader:
            assert scans(reader) == [("failed", "stopped before it had ended. What it saw is kept")]
            assert "expiry" in {each.rule for each in reader.open_findings()}


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with silent() as tarpit, certwatch(tmp_path, edge(tarpit), ready=False) as daemon:
        daemon.wait_for_log("scan_started")
        # Both have come when it goes on.
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            daemon.signal(number)
        assert daemon.end(5) == 3
        assert "stopped_at_once" in daemon.log


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    (certificates / "a.pem").write_bytes(issue(days=40).pem)
    collectors = f"\n  - {{name: files, kind: file, every: 1s, paths: ['{certificates}/*']}}"
    with certwatch(tmp_path, collectors) as daemon:
        daemon.wait(lambda: daemon.status["locations"] == 1, what="the first")
        # No file of this process may grow beyond: to SQLite a disk that is full.
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20, hard))
        numbered = NumberedCertificates()
        for number in range(3000):
            (certificates / f"n{number}.der").write_bytes(numbered.leaf(number))

        def is_full() -> bool:
            # One answer for both: between two, a small write may still have found room.
            answer = daemon.ask("/-/ready")
            return answer.status == 503 and "no space left" in answer.text

        daemon.wait(is_full, what="not ready for want of space")
        assert daemon.ask("/-/healthy").status == 200
        daemon.wait(
            lambda: (daemon.metric("certwatch_inventory_write_failures_total", reason="full") or 0) > 0,
            what="counted",
        )
        assert daemon.metric("certwatch_certificate_not_after_timestamp_seconds") is not None
        with reading(daemon.inventory) as reader:
            assert list(reader.check()) == []

        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        daemon.wait(lambda: daemon.status["locations"] == 3001, what="recovered")
        daemon.wait(lambda: daemon.ask("/-/ready").status == 200, what="ready again")
        daemon.signal(signal.SIGTERM)
        assert daemon.end() == 0
