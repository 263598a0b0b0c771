"""`certwatch scan` against a real nginx: what it says is what `openssl s_client -showcerts` says."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.der import fingerprint
from tests.support.nginx import NginxServer, nginx
from tests.support.s_server import showcerts

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
LIFE = {"not_before": NOW - timedelta(days=30), "not_after": NOW + timedelta(days=60)}
ROOT = make_ca("Scan Root", not_before=NOW - timedelta(days=400), not_after=NOW + timedelta(days=4000))
BETWEEN = make_ca(
    "Scan Intermediate",
    issuer=ROOT,
    key_number=101,
    not_before=NOW - timedelta(days=300),
    not_after=NOW + timedelta(days=2000),
)
LEAF = make_certificate(names=("dns:localhost", "ip:127.0.0.1"), issuer=BETWEEN, **LIFE)  # type: ignore[arg-type]
EXPIRED = make_certificate(
    names=("dns:localhost", "ip:127.0.0.1"), issuer=BETWEEN, not_before=NOW - timedelta(days=90),
    not_after=NOW - timedelta(days=1),
)  # fmt: skip


def scan(folder: Path, *args: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
    (folder / "root.pem").write_bytes(ROOT.pem)
    done = subprocess.run(
        [sys.executable, "-m", "certwatch", "scan", "--json", "--trust", folder / "root.pem", *args],
        capture_output=True, timeout=20, env={**os.environ, "XDG_DATA_HOME": str(folder)},
    )  # fmt: skip
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def test_endpoints_and_files_are_seen_in_one_scan(tmp_path: Path) -> None:
    servers = [NginxServer(chain_pem=each.chain_pem, key_pem=each.key_pem) for each in (LEAF, EXPIRED)]
    (tmp_path / "site.pem").write_bytes(LEAF.chain_pem)
    with nginx(tmp_path, servers) as web:
        good, expired = web.ports
        status, said = scan(tmp_path, f"127.0.0.1:{good}", str(tmp_path / "site.pem"))
        assert (status, said["findings"]) == (0, [])
        for observation in said["observations"]:
            chain = observation["chain"]
            assert isinstance(chain, list)
            assert [each["fingerprint_sha256"] for each in chain] == [
                fingerprint(der).hex() for der in showcerts(good)
            ]
        status, said = scan(tmp_path, f"127.0.0.1:{good},{expired}")
        assert status == 1
        assert [(each["rule"], each["severity"], each["location"]) for each in said["findings"]] == [
            ("expiry", "page", f"tls://127.0.0.1:{expired}/")
        ]
