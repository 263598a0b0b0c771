"""Several daemons, one inventory in PostgreSQL: one works, the others stand by."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support import postgresql_inventories
from tests.support.daemon import COMMAND, Certwatch, config_text
from tests.support.servers import free_port, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@contextmanager
def daemon(folder: Path, url: str) -> Iterator[Certwatch]:
    """Until it works or stands by."""
    folder.mkdir()
    leaf = folder.parent / "leaf.pem"
    leaf.write_bytes(make_certificate().pem)
    port = free_port()
    config = folder / "certwatch.yaml"
    collectors = f" [{{kind: file, name: files, paths: ['{leaf}'], every: 1s}}]"
    config.write_text(config_text(folder, port, collectors).replace(f"sqlite://{folder}/inventory.db", url))
    log = folder / "log"

    def up() -> bool:
        return "stands_by" in log.read_text() or probe.ask("/-/ready").status == 200

    probe = Certwatch(
        process=None,  # type: ignore[arg-type]
        config=config,
        inventory=folder / "none",
        log_file=log,
        port=port,
    )
    with running([*COMMAND, "-c", config], ready=up, log=log, seconds=40) as process:
        yield replace(probe, process=process)


def is_ready(each: Certwatch) -> bool:
    return each.ask("/-/ready").status == 200


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_another_takes_over_when_the_one_that_works_ends(tmp_path: Path, how: signal.Signals) -> None:
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url) as first,
        daemon(tmp_path / "second", url) as second,
    ):
        assert is_ready(first)
        assert "is writing it already" in second.log
        first.signal(how)
        wait_until(lambda: is_ready(second), what="the second one", seconds=30)


def test_one_that_stands_by_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url),
        daemon(tmp_path / "second", url) as second,
    ):
        second.signal(signal.SIGTERM)
        assert second.end() == 0


def test_one_whose_turn_was_taken_ends_so_that_it_stands_by_again(tmp_path: Path) -> None:
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url) as first,
        daemon(tmp_path / "second", url) as second,
    ):
        # It stands still while the server loses patience: another one works when it goes on.
        first.signal(signal.SIGSTOP)
        try:
            postgresql_inventories.server().run(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
                database=url.rpartition("/")[2],
            )
            wait_until(lambda: is_ready(second), what="the second one", seconds=30)
        finally:
            first.signal(signal.SIGCONT)
        assert first.end(30) == 3
        assert "lost_turn" in first.log
