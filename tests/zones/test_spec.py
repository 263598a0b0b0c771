"""What a worker is told: the daemon's config, and the worker's own secrets."""

from pathlib import Path

import pytest

from certwatch.config.load import read
from certwatch.config.mistakes import ConfigError
from certwatch.engine.assemble import collector_job
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH
from certwatch.zones.spec import Spec, read_spec, settings_of, spec_of
from collectors.tls import TLSConfig

CONFIG = """
inventory: postgresql://db/certwatch
exporters: []
collectors:
  - kind: tls
    name: edge
    zone: dmz
    every: 15m
    labels: {tier: 1.10, "ünïcode": "a: 'b'\\n"}
    targets: ["10.0.0.0/24:443,8443", "www.example.com"]
    proxy: http://proxy:${PASSWORD}@proxy.example.com:3128
"""


def told(text: str, **env: str) -> str:
    (settings,) = read(text, env=env).collectors
    return spec_of(collector_job(settings, CollectorContext(clock=lambda: EPOCH)))


def test_secrets_are_named_and_not_told() -> None:
    spec = told(CONFIG, PASSWORD="the-daemons")
    assert "the-daemons" not in spec
    settings = settings_of(read_spec(spec), {"PASSWORD": "the-workers"})
    assert isinstance(settings.config, TLSConfig)
    assert settings.config.targets == ["10.0.0.0/24:443,8443", "www.example.com"]
    assert settings.config.proxy is not None
    assert settings.config.proxy.get_secret_value() == "http://proxy:the-workers@proxy.example.com:3128"
    assert read_spec(spec).labels == {"tier": "1.10", "ünïcode": "a: 'b'\n"}


def test_what_is_the_same_is_told_in_the_same_words() -> None:
    assert told(CONFIG, PASSWORD="one") == told(CONFIG.replace("every: 15m", "every: 1h"), PASSWORD="two")
    assert told(CONFIG, PASSWORD="one") != told(CONFIG.replace("/24", "/25"), PASSWORD="one")


def test_a_secret_that_the_worker_lacks_is_said() -> None:
    with pytest.raises(ConfigError, match="environment variable PASSWORD is not set"):
        settings_of(read_spec(told(CONFIG, PASSWORD="x")), {})


def test_a_kind_that_the_worker_lacks_is_said() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        settings_of(Spec(name="edge", kind="newer", labels={}, config={}), {})


@pytest.mark.parametrize("text", ["", "{}", '{"name": 1}', '{"more": 1}', "[" * 100_000])
def test_what_is_no_job_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="Run the same version everywhere"):
        read_spec(text)


def test_a_zone_needs_an_inventory_that_workers_reach(tmp_path: Path) -> None:
    text = CONFIG.replace("postgresql://db/certwatch", f"sqlite://{tmp_path}/inventory.db")
    with pytest.raises(ConfigError, match="workers find their jobs in PostgreSQL"):
        read(text, env={"PASSWORD": "x"})


@pytest.mark.parametrize("lease", ["1s", "1h"])
def test_a_lease_has_its_bounds(lease: str) -> None:
    with pytest.raises(ConfigError, match="5s to 10m"):
        read(f"{CONFIG}\nworkers: {{lease: {lease}}}", env={"PASSWORD": "x"})
