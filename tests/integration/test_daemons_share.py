"""Several daemons, one inventory in PostgreSQL: one works, the others stand by."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.plugins.testing import make_certificate
from tests.support import postgresql_inventories
from tests.support.daemon import COMMAND, Certwatch, config_text
from tests.support.frozen_proxy import frozen_proxy
from tests.support.json_server import Asked, json_server
from tests.support.prometheus import alertmanager, alerts
from tests.support.servers import free_port, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@contextmanager
def daemon(folder: Path, url: str, *, exporters: str = "", port: int | None = None) -> Iterator[Certwatch]:
    """Works, or stands by."""
    folder.mkdir()
    leaf = folder.parent / "leaf.pem"
    if not leaf.exists():
        leaf.write_bytes(make_certificate().pem)
    port = port or free_port()
    config = folder / "certwatch.yaml"
    collectors = f" [{{kind: file, name: files, paths: ['{leaf}'], every: 1s}}]"
    text = config_text(folder, port, collectors, exporters=exporters)
    config.write_text(text.replace(f"sqlite://{folder}/inventory.db", url))
    log = folder / "log"

    def up() -> bool:
        return probe.ask("/-/ready").status == 200

    probe = Certwatch(
        process=None,  # type: ignore[arg-type]
        config=config,
        inventory=folder / "none",
        log_file=log,
        port=port,
    )
    with running([*COMMAND, "-c", config], ready=up, log=log, seconds=40) as process:
        yield replace(probe, process=process)


def works(each: Certwatch) -> bool:
    return each.metric("certwatch_stands_by") == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Two daemons of one inventory that tell a real Alertmanager of a certificate that ends soon."""

    manager: str
    first: Certwatch
    second: Certwatch
    #: What Alertmanager told somebody: "firing", "resolved".
    told: list[str]


@contextmanager
def paging(folder: Path) -> Iterator[Paging]:
    now = datetime.now(UTC)
    short = make_certificate(not_before=now - timedelta(days=80), not_after=now + timedelta(hours=30))
    (folder / "leaf.pem").write_bytes(short.pem)
    told: list[str] = []

    def take(asked: Asked) -> tuple[int, object]:
        told.append(asked.body["status"])
        return 200, {}

    with ExitStack() as stack:
        receiver = stack.enter_context(json_server(take))
        routing = (
            "route: {receiver: us, group_wait: 0s, group_interval: 1s, repeat_interval: 1h, group_by: ['...']}\n"
            f"receivers: [{{name: us, webhook_configs: [{{url: '{receiver.url}', send_resolved: true}}]}}]\n"
        )
        manager = stack.enter_context(alertmanager(folder / "am", config=routing))
        exporters = f"{{kind: alertmanager, urls: ['{manager}'], resend: 10s}}"
        url = stack.enter_context(postgresql_inventories.empty())
        first, second = (
            stack.enter_context(daemon(folder / name, url, exporters=exporters))
            for name in ("first", "second")
        )
        wait_until(lambda: bool(told), what="a notification", seconds=30)
        yield Paging(manager=manager, first=first, second=second, told=told)


def renewed() -> bytes:
    now = datetime.now(UTC)
    return make_certificate(not_before=now, not_after=now + timedelta(days=80)).pem


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_another_takes_over_when_the_one_that_works_ends(tmp_path: Path, how: signal.Signals) -> None:
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url) as first,
        daemon(tmp_path / "second", url) as second,
    ):
        assert works(first)
        assert "is writing it already" in second.log
        first.signal(how)
        wait_until(lambda: works(second), what="the second one", seconds=60)


def test_one_that_stands_by_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url),
        daemon(tmp_path / "second", url) as second,
    ):
        second.signal(signal.SIGTERM)
        assert second.end() == 0


@pytest.mark.parametrize("how", ["paused", "cut off"])
def test_one_whose_turn_was_taken_ends_so_that_it_stands_by_again(tmp_path: Path, how: str) -> None:
    with (
        postgresql_inventories.empty() as url,
        frozen_proxy(postgresql_inventories.server().port) as proxy,
        daemon(
            tmp_path / "first", url.replace(f":{postgresql_inventories.server().port}/", f":{proxy.port}/")
        ) as first,
        daemon(tmp_path / "second", url) as second,
    ):
        second.wait(lambda: second.status["locations"] == 1, "a scan")
        # For longer than the server has patience: another one works when it goes on.
        if how == "paused":
            first.signal(signal.SIGSTOP)
        else:
            proxy.freeze()
        try:
            wait_until(lambda: works(second), what="the second one", seconds=60)
        finally:
            proxy.thaw()
            first.signal(signal.SIGCONT)
        assert first.end(60) == 3
        assert "lost_turn" in first.log
        with closing(open_inventory(url).reader()) as reader:
            assert [each.retired_at for each in reader.live()] == [None]
            assert reader.check() == []


def test_one_that_stands_by_answers_what_the_other_found(tmp_path: Path) -> None:
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url),
        daemon(tmp_path / "second", url) as second,
    ):
        assert second.ask("/-/ready").text == "ready, stands by\n"
        second.wait(lambda: second.status["certificates"] == 1, "the certificate")
        assert second.status["stands_by"] is True
        second.wait(lambda: second.series("certwatch_certificate_not_after_timestamp_seconds"), "its metrics")
        assert "This one stands by" in second.ask("/").text
        assert "www.example.com" in second.ask("/certificates").text
        # It takes another config, and refuses a bad one, as the one that works does.
        text = second.config.read_text()
        second.config.write_text(text + "nonsense: 1\n")
        assert "nonsense" in second.ask("/-/reload", method="POST").text
        second.config.write_text(text.replace("name: files", "name: hosts"))
        assert second.ask("/-/reload", method="POST").text == "reloaded\n"
        assert "hosts" in second.ask("/collectors").text


def test_two_on_one_port_take_turns(tmp_path: Path) -> None:
    port = free_port()
    with (
        postgresql_inventories.empty() as url,
        daemon(tmp_path / "first", url, port=port) as first,
        daemon(tmp_path / "second", url, port=port) as second,
    ):
        second.wait_for_log("stands_by_unasked")
        first.signal(signal.SIGTERM)
        first.end()
        wait_until(lambda: works(second), what="the second one", seconds=60)


def test_nobody_is_told_twice_when_the_one_that_works_is_killed(tmp_path: Path) -> None:
    with paging(tmp_path) as shared:

        def seen() -> str:
            return max((each["updatedAt"] for each in alerts(shared.manager)), default="")

        firing = list(shared.told)
        assert set(firing) == {"firing"} and len(firing) == len(alerts(shared.manager))
        shared.first.signal(signal.SIGKILL)
        shared.first.end()
        before = seen()
        wait_until(lambda: works(shared.second), what="the second one", seconds=60)
        wait_until(lambda: seen() > before, what="the second one at Alertmanager", seconds=30)
        assert shared.told == firing
        (tmp_path / "leaf.pem").write_bytes(renewed())
        wait_until(lambda: len(shared.told) > len(firing), what="the end", seconds=30)
        assert set(shared.told[len(firing) :]) == {"resolved"}


def test_what_was_over_when_one_stood_still_does_not_fire_again(tmp_path: Path) -> None:
    # It told what it knew when it went on, and once more when it ended.
    with paging(tmp_path) as shared:
        firing = len(shared.told)
        shared.first.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: works(shared.second), what="the second one", seconds=60)
            (tmp_path / "leaf.pem").write_bytes(renewed())
            wait_until(lambda: len(shared.told) > firing, what="the end", seconds=60)
        finally:
            shared.first.signal(signal.SIGCONT)
        assert shared.first.end(60) == 3
        ended = time.monotonic()
        # A notification of what it said last would have come by now.
        wait_until(lambda: time.monotonic() > ended + 5, what="five seconds", seconds=10)
        assert set(shared.told[:firing]) == {"firing"}
        assert set(shared.told[firing:]) == {"resolved"}
