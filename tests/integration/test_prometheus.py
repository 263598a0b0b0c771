"""A real Prometheus scrapes the page, and promtool has nothing to say against it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from tests.exporters.test_prometheus import filled_exporter
from tests.support.prometheus import prometheus, query
from tests.support.servers import accepts, free_port, program, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@contextmanager
def served_page() -> Iterator[int]:
    port = free_port()
    app = Starlette(routes=filled_exporter().routes())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: accepts(port), what="the page")
        yield port
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def test_promtool_finds_nothing_wrong() -> None:
    with served_page() as port:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").content
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"], input=page, capture_output=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr.decode()
    assert checked.stderr == b""


def test_prometheus_takes_what_is_told(tmp_path: Path) -> None:
    with served_page() as port, prometheus(tmp_path, f"127.0.0.1:{port}") as url:
        wait_until(
            lambda: bool(query(url, 'certwatch_location_up{environment="prod"} == 1')), what="a sample"
        )
        assert query(url, "up")[0]["value"][1] == "1"
        joined = query(
            url,
            "certwatch_certificate_not_after_timestamp_seconds"
            " * on (fingerprint_sha256) group_left (subject) certwatch_certificate_info",
        )
        assert {each["metric"]["subject"] for each in joined} == {
            "CN=www.example.com",
            "CN=Test Intermediate",
        }
