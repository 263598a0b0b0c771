"""The ledger as an outside witness reads it: by Go's implementation of transparent logs, which shares no code with ours."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca import tiles
from certwatch.ca.http.app import public_app, tls_app
from tests.support.asgi import Client
from tests.support.cas import authority, issued, site_of
from tests.support.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SOURCE = Path(__file__).parents[1] / "data" / "witness" / "main.go"
#: Where Debian keeps Go's libraries (golang-golang-x-mod-dev).
GOPATH = Path("/usr/share/gocode")


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = program("go", "golang-go")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").exists():
        reason = "golang.org/x/mod is not installed (Debian: apt-get install golang-golang-x-mod-dev)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("witness")
    env = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOFLAGS": "",
        "GOCACHE": f"{folder}/cache",
    }
    done = subprocess.run(
        [go, "build", "-o", folder / "witness", SOURCE], env=env, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    return folder / "witness"


def copied(client: Client, folder: Path) -> int:
    """Every tile, as HTTP gives it. The ledger's size."""

    def keep(path: str) -> bytes:
        answer = client.get(f"/log/{path}")
        assert answer.status_code == 200, (path, answer.text)
        kept = folder / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(answer.content)
        return answer.content

    size = int(keep("checkpoint").decode().split("\n")[1])
    width, level = size, 0
    while width:
        for index in range(-(-width // 256)):
            part = min(256, width - index * 256)
            name = tiles.written(index) + (f".p/{part}" if part < 256 else "")
            keep(f"tile/{level}/{name}")
            if level == 0:
                keep(f"tile/entries/{name}")
        width, level = width // 256, level + 1
    return size


def test_gos_transparent_log_verifies_every_entry_and_that_nothing_was_removed(
    tmp_path: Path, witness: Path
) -> None:
    with authority(tmp_path, admins=("email:ann@example.com",)) as ca:
        ann = issued(ca, "email:ann@example.com", profile="client")
        site = site_of(ca)
        client = Client(tls_app(site), client_certificate=ann.certificate.public_bytes(Encoding.DER))
        key = client.get("/log/key").text.strip()
        early = tmp_path / "early"
        before = copied(client, early)
        with ca.act() as act:
            act.append("test", [{"number": each} for each in range(600)])
        late = tmp_path / "late"
        size = copied(client, late)
        assert size == before + 600

        def proven(*words: Path | str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([witness, *words], capture_output=True, text=True, timeout=60)

        done = proven(late, key, early / "checkpoint")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"continues {before}\nsize {size} entries {size}\n"
        # And it is no rubber stamp.
        tile = late / "tile/entries/001"
        tile.write_bytes(tile.read_bytes().replace(b'"number":300', b'"number":301'))
        assert "entry " in proven(late, key).stderr
        tile = late / "tile/0/001"
        tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
        assert proven(late, key).returncode == 1
        wrong = (early / "checkpoint").read_text().replace(f"\n{before}\n", f"\n{before - 1}\n")
        (early / "checkpoint").write_text(wrong)
        assert "checkpoint" in proven(early, key).stderr


def test_entries_are_read_by_auditors_alone_and_hashes_by_everybody(tmp_path: Path) -> None:
    with authority(tmp_path, auditors=("email:ann@example.com",)) as ca:
        ann, bob = (issued(ca, f"email:{name}@example.com", profile="client") for name in ("ann", "bob"))
        with ca.act() as act:
            act.append("test", [{"number": each} for each in range(256)])
        site = site_of(ca)
        public = Client(public_app(site))
        assert len(public.get("/log/tile/0/000").content) == 256 * 32
        assert public.get("/log/tile/0/000").headers["cache-control"].endswith("immutable")
        assert len(public.get("/log/tile/1/000.p/1").content) == 32
        assert public.get("/log/tile/entries/000").status_code == 404
        private = Client(tls_app(site))
        assert private.get("/log/tile/entries/000").status_code == 401
        for made, status in ((ann, 200), (bob, 403)):
            private.client_certificate = made.certificate.public_bytes(Encoding.DER)
            assert private.get("/log/tile/entries/000").status_code == status
        for path in ("0/001", "0/000.p/0", "0/000.p/256", "0/000.p/007", "0/x000/000", "0/1", "9/000", "1/000", "0/x001/x002/003", "0/000.p/x"):  # fmt: skip
            assert public.get(f"/log/tile/{path}").status_code == 404, path
