"""ACME clients themselves, against pebble: what they write is what is read."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certwatch.plugins.testing import FakeClock
from tests.support.ca_rounds import Rounds
from tests.support.inventories import Tried
from tests.support.pebble import Pebble, pebble
from tests.support.servers import free_port, program, running

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as server:
        yield server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def tried(tried: Tried) -> Tried:
    """By this machine's clock, as the clients go."""
    tried.clock = FakeClock(datetime.now(UTC))
    return tried


def run(*words: str | Path, **environment: str) -> None:
    done = subprocess.run(
        [*map(str, words)], env={**os.environ, **environment}, capture_output=True, timeout=90, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Certbot:
    def __init__(self, acme: Pebble, folder: Path) -> None:
        self._acme = acme
        self.folder = folder

    def run(self, *words: str) -> None:
        run(
            program("certbot", "certbot"), "--config-dir", self.folder, "--work-dir", self.folder / "work",
            "--logs-dir", self.folder / "logs", "--server", self._acme.directory_url, "--no-verify-ssl",
            "--non-interactive", *words,
        )  # fmt: skip

    def issue(self, name: str, *words: str) -> None:
        self.run(
            "certonly", "--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", str(free_port()),
            "--agree-tos", "--register-unsafely-without-email", "--cert-name", name, "-d", name, *words,
        )  # fmt: skip


async def test_what_certbot_keeps_up_is_followed_through_a_renewal(
    acme: Pebble, tried: Tried, tmp_path: Path
) -> None:
    certbot = Certbot(acme, tmp_path / "letsencrypt")
    certbot.issue("one.example", "--deploy-hook", "true")
    certbot.issue("two.example", "--no-autorenew")
    rounds = Rounds(tried, preset="certbot", path=str(certbot.folder))
    scan = await rounds.round(minutes=1)
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert rounds.live() == ["acme://corp/one.example", "acme://corp/two.example"]
    one, two = tried.served("acme://corp/one.example"), tried.served("acme://corp/two.example")
    assert one.chain[0].names == ("dns:one.example",)
    assert len(one.chain) >= 2
    assert one.facts == {
        "renewal_client": "certbot",
        "renewal_server": acme.directory_url,
        "renewal_hook": True,
    }
    assert (two.facts["renewal_off"], two.facts["renewal_hook"]) == (True, False)

    certbot.run("renew", "--cert-name", "one.example", "--force-renewal", "--no-random-sleep-on-renew")
    await rounds.round(minutes=15)
    renewed = tried.served("acme://corp/one.example")
    assert renewed.chain[0].serial_number != one.chain[0].serial_number
    assert [end for *_, position, _, _, end in tried.history("acme://corp/one.example") if position == 0][1:]
    # Its settings gone, it is not renewed any more.
    (certbot.folder / "renewal" / "one.example.conf").unlink()
    await rounds.round(minutes=15)
    assert tried.served("acme://corp/one.example").facts["renewal_off"] is True


async def test_what_lego_keeps_up_is_read_and_what_is_deleted_there_is_retired(
    acme: Pebble, tried: Tried, tmp_path: Path
) -> None:
    folder = tmp_path / "lego"
    for name in ("one.example", "two.example"):
        run(
            program("lego", "lego"), "--server", acme.directory_url, "--path", folder, "--accept-tos",
            "--email", "ops@example.com", "--domains", name, "--http", "--http.port", f"127.0.0.1:{free_port()}",
            "run", LEGO_CA_CERTIFICATES=str(acme.root),
        )  # fmt: skip
    rounds = Rounds(tried, preset="lego", path=str(folder))
    scan = await rounds.round(minutes=1)
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert rounds.live() == ["acme://corp/one.example", "acme://corp/two.example"]
    place = tried.served("acme://corp/two.example")
    assert place.chain[0].names == ("dns:two.example",)
    assert place.facts == {"renewal_client": "lego"}
    for each in (folder / "certificates").glob("one.example.*"):
        each.unlink()
    await rounds.round(minutes=15)
    assert rounds.live() == ["acme://corp/two.example"]


async def test_what_caddy_keeps_up_is_read_from_its_acme_issuer_and_its_own_ca(
    acme: Pebble, tried: Tried, tmp_path: Path
) -> None:
    root = tmp_path / "caddy"
    certificates = root / "certificates"
    port = free_port()
    config = {
        "admin": {"disabled": True},
        "storage": {"module": "file_system", "root": str(root)},
        "apps": {
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            "tls": {
                "certificates": {"automate": ["site.example", "inside.example"]},
                "automation": {
                    "policies": [
                        {"subjects": ["inside.example"], "issuers": [{"module": "internal"}]},
                        {
                            "issuers": [
                                {
                                    "module": "acme",
                                    "ca": acme.directory_url,
                                    "trusted_roots_pem_files": [str(acme.root)],
                                    "challenges": {
                                        "http": {"alternate_port": port},
                                        "tls-alpn": {"disabled": True},
                                    },
                                }
                            ]
                        },
                    ]
                },
            },
        },
    }
    (tmp_path / "caddy.json").write_text(json.dumps(config))
    command = [program("caddy", "caddy"), "run", "--config", str(tmp_path / "caddy.json")]
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    def issued() -> bool:
        # certmagic writes the certificate, the key and then this one.
        return len([*certificates.glob("*/*/*.json")]) == 2

    with running(command, ready=issued, log=tmp_path / "caddy.log", env=environment, seconds=60):
        pass
    rounds = Rounds(tried, preset="caddy", path=str(root))
    scan = await rounds.round(minutes=1)
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    inside, site = sorted(rounds.live(), key=lambda each: "local" not in each)
    assert inside == "acme://corp/local/inside.example"
    assert site.endswith("/site.example")
    found = tried.served(site)
    assert found.chain[0].names == ("dns:site.example",)
    assert found.facts == {"renewal_client": "caddy"}
    assert len(tried.served(inside).chain) == 2
