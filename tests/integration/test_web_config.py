"""The daemon with a web config, asked by curl, by Prometheus and by a browser."""

import json
import subprocess
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.chromium import chromium
from tests.support.daemon import COMMAND, certwatch, refused
from tests.support.prometheus import get_json
from tests.support.servers import accepts, free_port, program, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LATE = datetime(2100, 1, 1, tzinfo=UTC)
CA = make_certificate(subject="ca", is_ca=True, not_after=LATE, key_number=2)
PASSWORD = "open sesame"


def config(folder: Path, address: str, *, tls: bool = True) -> Path:
    issued = make_certificate(names=["dns:localhost", "ip:127.0.0.1"], issuer=CA, not_after=LATE)
    (folder / "server.pem").write_bytes(issued.chain_pem)
    (folder / "server.key").write_bytes(issued.key_pem)
    (folder / "ca.pem").write_bytes(CA.pem)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    text = f"basic_auth_users: {{alice: '{hashed}'}}\n"
    if tls:
        text += "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
    (folder / "web.yml").write_text(text)
    path = folder / "certwatch.yaml"
    path.write_text(
        f"inventory: sqlite://{folder}/inventory.db\ntrust: {{}}\ncollectors: []\n"
        f"exporters: [{{kind: prometheus, listen: '{address}', web_config: {folder}/web.yml}}]\n"
    )
    return path


def curl(folder: Path, url: str, *words: str) -> int:
    command = [
        program("curl", "curl"),
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--cacert",
        f"{folder}/ca.pem",
    ]
    return int(subprocess.run([*command, *words, url], capture_output=True, text=True, timeout=20).stdout)


def test_curl_prometheus_and_a_browser_come_in_by_tls_and_password(tmp_path: Path) -> None:
    port = free_port()
    path = config(tmp_path, f"0.0.0.0:{port}")
    base = f"https://127.0.0.1:{port}"
    me = ("-u", f"alice:{PASSWORD}")

    def ready() -> bool:
        return accepts(port) and curl(tmp_path, f"{base}/-/ready", *me) == 200

    with running([*COMMAND, "-c", path], ready=ready, log=tmp_path / "log", seconds=40):
        assert curl(tmp_path, f"{base}/", *me) == 200
        assert curl(tmp_path, f"{base}/") == 401
        assert curl(tmp_path, f"{base}/-/healthy") == 401
        assert curl(tmp_path, f"http://127.0.0.1:{port}/", *me) == 0

        listening = free_port()
        scrape = {
            "job_name": "certwatch",
            "scrape_interval": "1s",
            "scheme": "https",
            "tls_config": {"ca_file": str(tmp_path / "ca.pem")},
            "basic_auth": {"username": "alice", "password": PASSWORD},
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
        command = [
            program("prometheus", "prometheus"),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{listening}",
        ]

        def scraped() -> bool:
            asked = urllib.parse.urlencode({"query": 'up{job="certwatch"} == 1'})
            try:
                found = get_json(f"http://127.0.0.1:{listening}/api/v1/query?{asked}")
            except OSError:
                return False
            return bool(found["data"]["result"])

        with running(command, ready=lambda: accepts(listening), log=tmp_path / "prometheus.log", seconds=40):
            wait_until(scraped, what="Prometheus scrapes by TLS with a password", seconds=60)

        with chromium(tmp_path / "chromium") as browser:
            # The test's CA is nobody's: only the browser's word on it is passed over, not the page's.
            browser.call("Security.setIgnoreCertificateErrors", ignore=True)
            quoted = urllib.parse.quote(PASSWORD)
            browser.open(f"https://alice:{quoted}@127.0.0.1:{port}/", width=1200)
            assert "certwatch" in browser.evaluate("document.title").lower()
            # Style and further pages come in by what the browser remembers.
            assert browser.evaluate("document.styleSheets.length") == 1
            browser.open(f"https://127.0.0.1:{port}/certificates", width=1200)
            assert browser.evaluate("document.querySelector('main') !== null")
            browser.screenshot(tmp_path / "page.png")


def test_without_a_web_config_strangers_get_metrics_and_health_unless_it_is_said(tmp_path: Path) -> None:
    with certwatch(tmp_path) as daemon:
        path, port = daemon.config, free_port()
        path.write_text(path.read_text().replace(f"127.0.0.1:{daemon.port}", f"0.0.0.0:{port}"))
        assert daemon.ask("/-/reload", method="POST").status == 200
        assert daemon.ask("/metrics", port=port).status == 200
        assert daemon.ask("/-/ready", port=port).status == 200
        for closed in ("/", "/api/v1/status", "/certificates"):
            answer = daemon.ask(closed, port=port)
            assert (answer.status, "web_config" in answer.text) == (403, True)
    with running(
        [*COMMAND, "--insecure-listen", "-c", path],
        ready=lambda: accepts(port),
        log=tmp_path / "log2",
        seconds=40,
    ):
        wait_until(lambda: daemon.ask("/", port=port).status == 200, what="the page", seconds=40)


def test_a_web_config_that_cannot_be_used_is_refused_at_the_start_and_by_a_check(tmp_path: Path) -> None:
    path = config(tmp_path, f"127.0.0.1:{free_port()}")
    (tmp_path / "server.key").unlink()
    ended = refused(tmp_path, path.read_text())
    assert ended.returncode == 2
    assert "web.yml:" in ended.stderr
    assert "No such file or directory" in ended.stderr
    checked = subprocess.run(
        [*COMMAND[:-1], "config", "check", str(path)], capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, "server.key" in checked.stderr) == (2, True)


def test_a_reload_takes_a_web_config_at_the_same_port(tmp_path: Path) -> None:
    with certwatch(tmp_path) as daemon:
        given = config(tmp_path, f"127.0.0.1:{daemon.port}")
        assert daemon.ask("/-/reload", method="POST").status == 200
        assert given == daemon.config
        base = f"https://127.0.0.1:{daemon.port}"
        wait_until(
            lambda: curl(tmp_path, f"{base}/-/ready", "-u", f"alice:{PASSWORD}") == 200,
            what="TLS at the port",
        )
        wait_until(lambda: daemon.ask("/-/ready").status == 0, what="the end of plain HTTP")
