"""`doctor`: each part of an installation, and what to do about it."""

import json
import socket
from datetime import datetime
from pathlib import Path

import pytest

from certwatch.cli.doctor import _answering
from certwatch.plugins import registry
from certwatch.plugins.testing import FakeClock, make_ca
from tests.cli.stage import fill, later, run, write_config
from tests.support.servers import free_port


def checks(config: Path, *, clock: FakeClock | None = None) -> tuple[int, dict[str, tuple[str, str]]]:
    ran = run("-c", config, "doctor", "--json", clock=clock or later())
    return ran.status, {
        each["what"]: (each["result"], each["said"]) for each in json.loads(ran.out)["checks"]
    }


def healthy(folder: Path, *, port: int) -> Path:
    (folder / "root.pem").write_bytes(make_ca().pem)
    return write_config(
        folder,
        f"trust: {{corp: {folder}/root.pem}}\ncollectors: []\n"
        f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{port}'}}]\n",
    )


def test_a_sound_installation_fails_nowhere(tmp_path: Path) -> None:
    port = free_port()
    config = healthy(tmp_path, port=port)
    fill(tmp_path)
    status, found = checks(config)
    assert status == 0
    assert found["inventory"] == ("ok", "sound: 5 certificates, 3 locations")
    assert found["trust corp"] == ("ok", "1 anchors")
    assert found[f"port 127.0.0.1:{port}"] == ("ok", "free: no daemon runs")
    assert found["collector tls"][0] == "ok"


def test_an_extra_that_nobody_asked_for_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = registry.load

    def without_aws(group: registry.Group, kind: str) -> object:
        if kind == "aws":
            raise registry.ExtraMissing("it needs botocore")
        return load(group, kind)

    monkeypatch.setattr(registry, "load", without_aws)
    status, found = checks(healthy(tmp_path, port=free_port()))
    assert status == 0
    assert found["collector aws"] == ("off", "it needs botocore")


def test_a_missing_inventory_is_no_failure(tmp_path: Path) -> None:
    status, found = checks(healthy(tmp_path, port=free_port()))
    assert status == 0
    assert found["inventory"][0] == "warn"


def test_a_bad_config_is_told_with_its_mistakes(tmp_path: Path) -> None:
    status, found = checks(write_config(tmp_path, "lgo: {}\n"))
    assert status == 3
    assert found["config"] == ("fail", f'{tmp_path}/certwatch.yaml:2: lgo: unknown key, did you mean "log"?')


def test_a_damaged_inventory_fails(tmp_path: Path) -> None:
    config = healthy(tmp_path, port=free_port())
    (tmp_path / "inventory.db").write_bytes(b"not an inventory at all, but long enough to look at" * 100)
    status, found = checks(config)
    assert status == 3
    assert found["inventory"][0] == "fail"


def test_a_port_that_another_program_has_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        assert _answering(f"127.0.0.1:{port}", "in use").result == "fail"


@pytest.mark.parametrize(
    ("text", "result"),
    [("ready\n", "ok"), ("not ready\nthe first evaluation has not ended\n", "warn"), ("<html>", "fail")],
)
def test_who_answers_at_the_port_is_asked(text: str, result: str) -> None:
    assert _answering("127.0.0.1:9719", "in use", lambda address: (200, text)).result == result


def test_a_clock_that_cannot_be_right_fails(tmp_path: Path) -> None:
    config = healthy(tmp_path, port=free_port())
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    status, found = checks(config, clock=FakeClock(now=epoch))
    assert status == 3
    assert found["clock"][0] == "fail"
