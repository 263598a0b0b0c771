"""`certwatch run` as a process: against a real nginx, by its port, its signals and its exit status."""

import os
import signal
import socket
import subprocess
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwatch.model.location import LocationURI
from certwatch.plugins.testing import Issued, make_certificate
from tests.support.daemon import COMMAND, Certwatch, certwatch, config_text, reading, refused
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import accepts, free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def issue(*, days: float, number: int = 1, name: str = "www.example.com") -> Issued:
    now = datetime.now(UTC).replace(microsecond=0)
    return make_certificate(
        names=(f"dns:{name}",),
        not_before=now - timedelta(days=60),
        not_after=now + timedelta(days=days),
        key_number=number,
    )


def write(path: Path, issued: Issued) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(issued.pem)
    fresh.replace(path)


def files(folder: Path, *, every: str = "1s", name: str = "files", labels: str = "{}") -> str:
    return f"\n  - {{name: {name}, kind: file, every: {every}, paths: ['{folder}/*.pem'], labels: {labels}}}"


def not_after(issued: Issued) -> float:
    return issued.certificate.not_valid_after_utc.timestamp()


def shown(daemon: Certwatch) -> list[float]:
    return sorted(value for _, value in daemon.series("certwatch_certificate_not_after_timestamp_seconds"))


def test_it_shows_what_nginx_serves_and_what_replaces_it(tmp_path: Path) -> None:
    old, new = issue(days=1), issue(days=90, number=2)
    with nginx(tmp_path, [NginxServer(chain_pem=old.pem, key_pem=old.key_pem)]) as server:
        collectors = (
            f"\n  - {{name: edge, kind: tls, every: 1s, targets: ['127.0.0.1:{server.port}'],"
            " labels: {environment: prod, team: web}}"
        )
        with certwatch(tmp_path, collectors) as daemon:
            daemon.wait(lambda: shown(daemon) == [not_after(old)], what="the first certificate")
            with reading(daemon.inventory) as reader:
                daemon.wait(
                    lambda: any(each.rule == "expiry" for each in reader.open_findings()), what="a finding"
                )
                (finding,) = [each for each in reader.open_findings() if each.rule == "expiry"]
                assert (finding.severity, finding.owner) == ("page", "web")
                server.swap(0, new.pem, new.key_pem)
                daemon.wait(lambda: shown(daemon) == [not_after(new)], what="the second certificate")
                assert not [each for each in reader.open_findings() if each.rule == "expiry"]
            # The server goes: what it showed last stays.
            server.process.terminate()
            daemon.wait(
                lambda: (daemon.metric("certwatch_observations_total", outcome="refused") or 0) > 0,
                what="a failed look",
            )
            assert shown(daemon) == [not_after(new)]


def test_it_answers_on_its_port_and_ends_clean(tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    write(certificates / "a.pem", issue(days=1))
    with certwatch(tmp_path, files(certificates)) as daemon:
        daemon.wait(lambda: len(shown(daemon)) == 1, what="the certificate")
        assert daemon.ask("/-/healthy").text == "healthy\n"
        assert daemon.ask("/-/ready").text == "ready\n"
        assert daemon.ask("/-/reload").status == 405
        assert daemon.ask("/nothing").status == 404
        page = daemon.ask("/").text
        assert "www.example.com" in page
        assert daemon.status["certificates"] == 1
        assert daemon.metric("certwatch_build_info") == 1
        daemon.signal(signal.SIGTERM)
        assert daemon.end() == 0
        assert "stopped" in daemon.log
        assert "Traceback" not in daemon.log
        # Closed: the log has moved into the file.
        assert not daemon.inventory.with_name("inventory.db-wal").exists()
        with reading(daemon.inventory) as reader:
            assert list(reader.check()) == []
            assert [each.rule for each in reader.open_findings()]


def test_a_good_file_is_taken_by_signal_and_what_vanished_from_it_is_retired(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        write(folder / "a.pem", issue(days=40, name=f"{folder.name}.example.com"))
    both = files(one, name="one") + files(two, name="two", labels="{environment: test}")
    with certwatch(tmp_path, both) as daemon:
        daemon.wait(lambda: len(shown(daemon)) == 2, what="both")
        daemon.config.write_text(
            config_text(tmp_path, daemon.port, files(two, name="two", labels="{environment: prod}"))
        )
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("reloaded")
        with reading(daemon.inventory) as reader:

            def settled() -> bool:
                gone = reader.served(LocationURI(f"file://{one}/a.pem"))
                left = reader.served(LocationURI(f"file://{two}/a.pem"))
                assert gone is not None
                assert left is not None
                return gone.retired_at is not None and left.location.labels.get("environment") == "prod"

            daemon.wait(settled, what="the change")
        daemon.wait(lambda: len(shown(daemon)) == 1, what="one left")
        assert daemon.metric("certwatch_config_last_reload_successful") == 1


def test_a_bad_file_keeps_the_old_one_running(tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    write(certificates / "a.pem", issue(days=40))
    with certwatch(tmp_path, files(certificates)) as daemon:
        daemon.wait(lambda: len(shown(daemon)) == 1, what="the certificate")
        good = daemon.config.read_text()
        daemon.config.write_text(good.replace("every:", "evry:"))
        answer = daemon.ask("/-/reload", method="POST")
        assert answer.status == 400
        assert f'{daemon.config}:5: collectors[0].evry: unknown key, did you mean "every"?' in answer.text
        assert daemon.metric("certwatch_config_last_reload_successful") == 0

        daemon.signal(signal.SIGHUP)
        daemon.wait(lambda: daemon.log.count("reload_refused") == 2, what="refused by signal too")
        # Another inventory cannot be taken while it runs.
        daemon.config.write_text(good.replace("inventory.db", "other.db"))
        assert "Restart certwatch" in daemon.ask("/-/reload", method="POST").text

        write(certificates / "b.pem", issue(days=50, number=2))
        daemon.wait(lambda: len(shown(daemon)) == 2, what="the old config at work")
        daemon.config.write_text(good)
        assert daemon.ask("/-/reload", method="POST").status == 200
        assert daemon.metric("certwatch_config_last_reload_successful") == 1


def test_a_reload_may_move_the_port(tmp_path: Path) -> None:
    with certwatch(tmp_path) as daemon, socket.create_server(("127.0.0.1", 0)) as taken:
        good = daemon.config.read_text()
        in_use = taken.getsockname()[1]
        daemon.config.write_text(good.replace(str(daemon.port), str(in_use)))
        answer = daemon.ask("/-/reload", method="POST")
        assert (answer.status, "listens there already" in answer.text) == (400, True)
        moved = free_port()
        daemon.config.write_text(good.replace(str(daemon.port), str(moved)))
        assert daemon.ask("/-/reload", method="POST").status == 200
        daemon.wait(lambda: daemon.ask("/-/ready", port=moved).status == 200, what="the new port")
        daemon.wait(lambda: not accepts(daemon.port), what="the old port closed")


def test_a_port_in_use_is_said_and_leaves_the_inventory_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = refused(tmp_path, config_text(tmp_path, port, " []"))
    assert ended.returncode == 3
    assert f"listen 127.0.0.1:{port}: another program listens there already" in ended.stderr
    assert "Traceback" not in ended.stderr
    with certwatch(tmp_path):
        pass


def test_a_second_one_on_the_same_inventory_is_refused(tmp_path: Path) -> None:
    with certwatch(tmp_path) as daemon:
        ended = refused(tmp_path, config_text(tmp_path, free_port(), " []"))
        assert ended.returncode == 3
        assert f"process {daemon.process.pid} is writing it already, and only one may" in ended.stderr
        assert daemon.ask("/-/ready").status == 200


def test_a_config_with_mistakes_is_refused_with_all_of_them(tmp_path: Path) -> None:
    ended = refused(tmp_path, "colectors: []\nexporters: [{kind: promtheus}]\n")
    assert ended.returncode == 2
    assert 'did you mean "collectors"?' in ended.stderr
    assert "did you mean 'prometheus'?" in ended.stderr
    assert ended.stdout == ""


def test_a_trust_store_that_is_missing_is_refused(tmp_path: Path) -> None:
    text = config_text(tmp_path, free_port(), " []").replace("trust: {}", "trust: {corp: /nowhere/root.pem}")
    ended = refused(tmp_path, text)
    assert ended.returncode == 2
    assert "trust.corp: /nowhere/root.pem cannot be read" in ended.stderr


@pytest.mark.parametrize(
    ("inventory", "said"),
    [
        ("sqlite:///proc/certwatch/inventory.db", "inventory /proc/certwatch/inventory.db: "),
        ("sqlite:///{folder}/text.db", "is not a certwatch inventory"),
        ("postgresql://user:hunter2@127.0.0.1:1/x", "inventory postgresql://127.0.0.1:1/x: no connection."),
    ],
)
def test_an_inventory_that_cannot_be_used_is_said(tmp_path: Path, inventory: str, said: str) -> None:
    (tmp_path / "text.db").write_text("This is a letter, and no database at all.\n" * 100)
    text = config_text(tmp_path, free_port(), " []")
    ended = refused(
        tmp_path, text.replace(f"sqlite://{tmp_path}/inventory.db", inventory.format(folder=tmp_path))
    )
    assert ended.returncode == 3
    assert said in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_a_config_it_watches_this_host_and_says_where_to_look(tmp_path: Path) -> None:
    if accepts(9719):
        pytest.skip("port 9719, the default, is in use on this host")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("CERTWATCH_CONFIG", "XDG_DATA_HOME")
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            COMMAND,
            cwd=tmp_path,
            env={**environment, "XDG_DATA_HOME": str(tmp_path / "data")},
            stdout=subprocess.PIPE,
            stderr=output,
        )
        try:
            wait_until(lambda: "metrics" in log.read_text(), what=f"where to look\n{log.read_text()}")
            process.send_signal(signal.SIGINT)
            stdout, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, log.read_text()
    assert stdout == b""
    for line in (
        "http://127.0.0.1:9719/metrics",
        f"{tmp_path}/data/certwatch/inventory.db",
        "certwatch list",
    ):
        assert line in log.read_text()


def test_systemd_is_told_when_it_watches_and_that_it_lives(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with certwatch(tmp_path, env=env):
            assert told.recv(1000).startswith(b"READY=1")
            assert told.recv(1000).startswith(b"WATCHDOG=1")
            assert told.recv(1000).startswith(b"WATCHDOG=1")
        told.settimeout(1)
        last = b""
        with suppress(TimeoutError):
            while not last.startswith(b"STOPPING=1"):
                last = told.recv(1000)
        assert last.startswith(b"STOPPING=1")
