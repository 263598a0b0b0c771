"""The real Prometheus and Alertmanager, on free ports of loopback."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.servers import accepts, free_port, program, running


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        return json.load(answer)


@contextmanager
def prometheus(folder: Path, *targets: str, interval: str = "1s") -> Iterator[str]:
    """Scrapes the targets (host:port) every `interval`: its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {interval}}}\n"
        f"scrape_configs: [{{job_name: certwatch, static_configs: [{{targets: {json.dumps(list(targets))}}}]}}]\n"
    )
    command = [
        program("prometheus", "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, ready=lambda: accepts(port), log=folder / "prometheus.log"):
        yield f"http://127.0.0.1:{port}"


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """Samples that an instant query returns now. Empty while Prometheus is still starting."""
    try:
        answer = get_json(f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    except OSError:
        return []
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


#: A config that notifies nobody.
NOBODY = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@contextmanager
def alertmanager(folder: Path, *, port: int | None = None, config: str = NOBODY) -> Iterator[str]:
    """Alone, without cluster: its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    (folder / "alertmanager.yml").write_text(config)
    command = [
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, ready=lambda: accepts(port), log=folder / "alertmanager.log"):
        yield f"http://127.0.0.1:{port}"


def alerts(url: str) -> list[dict[str, Any]]:
    """What it shows as firing."""
    try:
        found: list[dict[str, Any]] = get_json(f"{url}/api/v2/alerts")
    except OSError:
        return []
    return found
