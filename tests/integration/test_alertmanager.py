"""A real Alertmanager receives, shows and resolves."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certwatch.plugins.exporter import ExporterContext, News
from exporters.alertmanager import AlertmanagerConfig, AlertmanagerExporter
from tests.exporters.test_alertmanager import View, finding
from tests.exporters.test_alertmanager_sending import running
from tests.support.prometheus import alertmanager, alerts
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def system_clock() -> datetime:
    return datetime.now(UTC)


async def until(url: str, count: int) -> None:
    await asyncio.to_thread(
        wait_until, lambda: len(alerts(url)) == count, what=f"{count} alerts at Alertmanager", seconds=30
    )


async def test_it_shows_what_is_open_and_resolves_what_is_not(tmp_path: Path) -> None:
    with alertmanager(tmp_path) as url:
        context = ExporterContext(clock=system_clock, view=View([finding(1), finding(2, severity="page")]))
        manager = AlertmanagerExporter("am", AlertmanagerConfig(urls=(url,)), context)
        async with running(manager):
            await until(url, 2)
            page = next(
                each for each in await asyncio.to_thread(alerts, url) if each["labels"]["severity"] == "page"
            )
            assert page["annotations"]["summary"] == "www.example.com is presented without its issuer"
            assert page["annotations"]["locations"] == "tls://192.0.2.2:443/"
            await manager.publish(News(resolved=(finding(1),)))
            await until(url, 1)


async def test_one_of_two_that_is_down_hears_when_it_comes_back(tmp_path: Path) -> None:
    late = free_port()
    with alertmanager(tmp_path / "a") as first:
        urls = (first, f"http://127.0.0.1:{late}")
        context = ExporterContext(clock=system_clock, view=View([finding(1)]))
        manager = AlertmanagerExporter("am", AlertmanagerConfig(urls=urls, resend=2), context)  # type: ignore[arg-type]
        async with running(manager):
            await until(first, 1)
            with alertmanager(tmp_path / "b", port=late) as second:
                await until(second, 1)
