"""SLIs against their targets, from the inventory and from what a Prometheus answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from certwatch.cli.slo import OBJECTIVES, Measured
from tests.cli.stage import fill, later, run, write_config


@contextmanager
def answering(values: dict[str, str], *, body: bytes | None = None) -> Iterator[str]:
    """The far side of the door: for each part of a query a value; none: no data."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)["query"][0]
            found = next((value for part, value in values.items() if part in asked), None)
            result = [] if found is None else [{"metric": {}, "value": [0, found]}]
            said = body if body is not None else json.dumps({"data": {"result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def objective(id: str) -> Any:
    return next(each for each in OBJECTIVES if each.id == id)


def test_all_ten_are_there_in_order() -> None:
    assert [each.id for each in OBJECTIVES] == [f"M{number}" for number in range(1, 11)]


@pytest.mark.parametrize(
    ("id", "failed", "left"),
    [
        ("M4", 0.0, 1.0),
        ("M4", 0.0005, 0.0),
        ("M4", 0.00025, 0.5),
        ("M4", 0.001, -1.0),
        ("M4", None, None),
        ("M3", 0.01, 0.8),
        ("M8", 0.0005, 0.5),
        ("M7", 0.5, None),
    ],
)
def test_the_budget_is_what_the_objective_still_allows(
    id: str, failed: float | None, left: float | None
) -> None:
    found = Measured(objective=objective(id), failed=failed).budget_left
    assert found == (None if left is None else pytest.approx(left))


def test_without_prometheus_it_says_what_the_inventory_knows(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    fill(tmp_path)
    ran = run("-c", config, "slo", "--json", clock=later())
    said = {each["id"]: each for each in json.loads(ran.out)["slos"]}
    assert "without --prometheus" in ran.err
    assert 0 <= said["M9"]["now"] <= 1
    assert said["M2"]["now"] is not None
    assert said["M4"]["now"] is None
    assert ran.status == (1 if any(each["missed"] for each in said.values()) else 0)


def test_what_prometheus_says_is_held_against_the_targets(tmp_path: Path) -> None:
    handshakes = 'certwatch_observations_total{kind="tls", outcome!="ok"}'
    values = {
        f"1 - (sum(increase({handshakes}[1h]": "0.998",
        f"1 - (sum(increase({handshakes}[30d]": "0.9996",
        f"(sum(increase({handshakes}[30d]": "0.0004",
        "1 - (sum(certwatch_locations_failing)": "1",
    }
    with answering(values) as url:
        ran = run("slo", "--prometheus", url, "--json")
        assert run("slo", "--prometheus", url).out.splitlines()[4].split()[-1] == "20%"
    said = {each["id"]: each for each in json.loads(ran.out)["slos"]}
    assert (said["M4"]["now"], said["M4"]["missed"]) == (0.998, True)
    assert said["M4"]["budget_left"] == pytest.approx(0.2)
    assert (said["M9"]["missed"], said["M2"]["now"], ran.status) == (False, None, 1)


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [("http://127.0.0.1:1", 3, "cannot be asked"), ("no url", 3, ""), ("http://[", 3, "")],
)
def test_a_prometheus_that_cannot_be_asked_is_told(url: str, status: int, message: str) -> None:
    ran = run("slo", "--prometheus", url)
    assert (ran.status, ran.out) == (status, "")
    assert message in ran.err


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"data": {"result": [{}]}}'])
def test_what_is_no_prometheus_is_told(body: bytes) -> None:
    with answering({}, body=body) as url:
        ran = run("slo", "--prometheus", url)
    assert ran.status == 3
    assert "does not answer as a Prometheus does" in ran.err
