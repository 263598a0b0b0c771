"""The databases that real programs write: `openssl ca` and easy-rsa."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certwatch.plugins.testing import FakeClock
from tests.support.ca_rounds import Rounds
from tests.support.inventories import opened
from tests.support.openssl import openssl
from tests.support.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

CONFIG = """
[ca]
default_ca = corp
[corp]
dir = {folder}
database = $dir/index.txt
new_certs_dir = $dir/newcerts
serial = $dir/serial
certificate = $dir/cacert.pem
private_key = $dir/cakey.pem
crlnumber = $dir/crlnumber
default_md = sha256
policy = any
unique_subject = no
default_crl_days = 7
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
"""


class OpenSSLCA:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "newcerts").mkdir(parents=True)
        (folder / "index.txt").touch()
        (folder / "serial").write_text("0A0F\n")
        (folder / "crlnumber").write_text("01\n")
        (folder / "openssl.cnf").write_text(CONFIG.format(folder=folder))
        openssl(
            "req", "-config", folder / "openssl.cnf", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", folder / "cakey.pem", "-out", folder / "cacert.pem", "-subj", "/CN=Corp CA",
            "-days", "3650",
        )  # fmt: skip

    def ca(self, *words: str | Path) -> None:
        openssl("ca", "-batch", "-config", self.folder / "openssl.cnf", *words)

    def issue(self, name: str, *words: str) -> None:
        openssl(
            "req", "-config", self.folder / "openssl.cnf", "-new", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-out", self.folder / "request.pem",
            "-subj", f"/CN={name}",
        )  # fmt: skip
        self.ca("-in", self.folder / "request.pem", "-notext", *(words or ("-days", "90")))

    def revoke(self, serial: str, *words: str) -> None:
        self.ca("-revoke", self.folder / "newcerts" / f"{serial}.pem", *words)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "store"
    folder.mkdir()
    yield folder


async def test_the_database_of_openssl_ca_is_followed_through_issue_and_revocation(
    tmp_path: Path, store: Path
) -> None:
    ca = OpenSSLCA(tmp_path / "ca")
    for name in ("one.example", "two.example", "three.example"):
        ca.issue(name)
    ca.issue("far.example", "-enddate", "20600101000000Z")
    with opened("sqlite", store) as tried:
        tried.clock = FakeClock(datetime.now(UTC))
        rounds = Rounds(tried, preset="openssl", path=str(ca.folder))
        scan = await rounds.round(minutes=1)
        assert (scan.status, scan.observations, scan.errors) == ("complete", 5, 0)
        assert rounds.live() == [f"cadb://corp/{serial}" for serial in ("0a0f", "0a10", "0a11", "0a12")]
        assert tried.served("cadb://corp/0a10").chain[0].subject == "CN=two.example"
        assert tried.served("cadb://corp/0a12").chain[0].not_after == datetime(2060, 1, 1, tzinfo=UTC)
        assert [each.subject for each in rounds.database.chain] == ["CN=Corp CA"]

        ca.revoke("0A0F", "-crl_reason", "superseded")
        ca.revoke("0A10", "-crl_compromise", "20261020112233Z")
        ca.revoke("0A11", "-crl_hold", "holdInstructionReject")
        ca.issue("four.example")
        await rounds.round(minutes=15)
        reasons = {
            each.location: each.facts.get("revocation_reason")
            for each in rounds.observations
            if each.facts.get("ca_status") == "revoked"
        }
        assert reasons == {
            "cadb://corp/0a0f": "superseded",
            "cadb://corp/0a10": "keyCompromise",
            "cadb://corp/0a11": "certificateHold",
        }
        assert "cadb://corp/0a13" in rounds.live()

        await rounds.round(minutes=15)
        assert rounds.told == []


async def test_the_folder_of_easy_rsa_is_read(tmp_path: Path, store: Path) -> None:
    easyrsa = Path(program("/usr/share/easy-rsa/easyrsa", "easy-rsa"))
    folder = tmp_path / "pki"

    def run(*words: str) -> None:
        done = subprocess.run(
            [easyrsa, "--batch", f"--pki-dir={folder}", "--use-algo=ec", *words],
            cwd=easyrsa.parent,
            capture_output=True,
            timeout=60,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("init-pki")
    run("build-ca", "nopass")
    run("build-server-full", "vpn.example", "nopass")
    run("build-client-full", "alice", "nopass")
    with opened("sqlite", store) as tried:
        tried.clock = FakeClock(datetime.now(UTC))
        rounds = Rounds(tried, preset="openssl", path=str(folder))
        scan = await rounds.round(minutes=1)
        assert (scan.status, scan.errors) == ("complete", 0)
        subjects = {each.chain[0].subject for each in tried.reader.live() if each.location.kind == "cadb"}
        assert subjects == {"CN=vpn.example", "CN=alice"}
        assert [each.subject for each in rounds.database.chain] == ["CN=Easy-RSA CA"]
        run("revoke", "alice", "keyCompromise")
        await rounds.round(minutes=15)
        (revoked,) = [each for each in tried.reader.live() if each.facts.get("ca_status") == "revoked"]
        assert revoked.facts["revocation_reason"] == "keyCompromise"
