"""Workers that reach the daemon's port alone, with certificates of the embedded CA; the network between them fails."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import postgresql_inventories
from tests.support.daemon import Certwatch
from tests.support.delayed import delayed_site
from tests.support.partition import way
from tests.support.servers import free_port
from tests.support.zones import Stage, stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NAME = "www.example.com"
ADDRESSES, PART = 64, 16


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Stage]:
    with postgresql_inventories.empty() as url, stage(tmp_path, url) as it:
        yield it


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port that takes 200 ms to answer."""
    with delayed_site(tmp_path_factory.mktemp("late"), NAME, 200) as port:
        yield port


@dataclass
class Pushed:
    daemon: Certwatch
    #: Of the daemon's workers.
    port: int
    root: Path

    def certificate(self, name: str) -> tuple[Path, str]:
        """Made by the daemon's CA, with its key beside it; and its serial number."""
        path = self.root.parent / f"{name}.pem"
        made = self.daemon.command(
            "ca", "issue", "--name", f"dns:{name}", "--profile", "client", "--json", "--out", str(path)
        )
        assert made.returncode == 0, made.stderr
        return path, json.loads(made.stdout)["serial"]


def works(staged: Stage, late: int) -> Pushed:
    folder, port = staged.folder, free_port()
    keys = (
        f"ca: {{directory: {folder}/ca, key_file: {folder}/ca.key, key_passphrase: a secret of a test, lint: false,"
        f" listen_tls: '127.0.0.1:{free_port()}', url: 'http://127.0.0.1:1'}}\n"
    )
    config = folder / "ca.yaml"
    config.write_text(keys)
    before = Certwatch(process=None, config=config, inventory=folder, log_file=folder / "x", port=0)  # type: ignore[arg-type]
    for words in (
        ("--root", "--name", "Test Root", "--out", f"{folder}/root.pem"),
        ("--intermediate", "--name", "Test Issuing", "--out", f"{folder}/issuing.pem"),
    ):
        done = before.command("ca", "init", *words)
        assert done.returncode == 0, done.stderr
    collectors = (
        f" [{{kind: tls, name: edge, zone: dmz, every: 1h, targets: ['127.1.0.0/26:{late}'], server_name: {NAME},"
        " concurrency: 4}]"
    )
    daemon = staged.daemon(
        collectors,
        workers=f", listen: '127.0.0.1:{port}', zones: {{dmz: ['dns:worker.dmz.example.com']}}",
        more=keys,
        part_looks=PART,
    )
    return Pushed(daemon=daemon, port=port, root=folder / "root.pem")


def whole(staged: Stage) -> None:
    scan = staged.scanned("edge")
    assert (scan.status, scan.observations, scan.errors) == ("complete", ADDRESSES, 0), staged.logs
    assert len(staged.locations()) == ADDRESSES
    with staged.reader() as reader:
        assert reader.check() == []


def test_what_a_worker_saw_while_the_daemon_was_out_of_reach_is_kept_and_counts_once(
    staged: Stage, late: int
) -> None:
    pushed = works(staged, late)
    certificate, serial = pushed.certificate("worker.dmz.example.com")
    stranger, _ = pushed.certificate("worker.lan.example.com")
    done = pushed.daemon.command(
        *("worker", "--queue", "dmz", "--push", f"https://localhost:{pushed.port}", "--ca", str(pushed.root)),
        *(
            "--cert",
            str(stranger),
            "--key",
            str(stranger.with_suffix(".key")),
            "--spool",
            f"{staged.folder}/other",
        ),
    )
    assert done.returncode == 3
    assert "dns:worker.lan.example.com may work for no zone (workers: zones)" in done.stderr
    with way(pushed.port) as between:
        words = ("--key", certificate.with_suffix(".key"), "--ca", pushed.root, "--jobs", "1")
        url = f"https://localhost:{between.port}"
        worker = staged.pusher("worker", url, certificate, *words)
        staged.wait(lambda: "shard_started" in worker.log, "a part under way")
        between.cut()
        # What it saw and how it ended wait on disk.
        staged.wait(lambda: "shard_finished" in worker.log, "its end")
        spool = staged.folder / "worker" / "spool"
        assert len(list(spool.glob("*.message"))) >= 2
        # Killed now, it finds them in its next life.
        worker.signal(signal.SIGKILL)
        worker.process.wait(timeout=10)
        between.mend()
        worker = staged.pusher("worker", url, certificate, *words)
        whole(staged)
        assert "spool_found" in worker.log
        assert not list(spool.glob("*.message"))
        assert (
            pushed.daemon.metric("certwatch_observations_total", collector="edge", outcome="ok") == ADDRESSES
        )
        # Nothing was done twice but what had not been brought to an end.
        assert "shards_taken_over" not in pushed.daemon.log
        revoked = pushed.daemon.command("ca", "revoke", serial, "--reason", "superseded")
        assert revoked.returncode == 0, revoked.stderr
        assert worker.end(60) == 3
        assert "the client certificate is revoked" in worker.log
