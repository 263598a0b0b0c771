"""TesseraCT, a real log of static-ct-api, which `tools/tesseract.sh` builds with Go: it takes submissions, nginx serves its files,
as its operators run it."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certwatch.ct.heads import LogKey, parse_log_checkpoint
from certwatch.ct.scts import SCT
from certwatch.plugins.testing import Issued, key, make_ca, make_certificate
from tests.support.go_programs import built
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import free_port, running, wait_until

#: Two minutes alone on two cores.
BUILD_SECONDS = 900
ORIGIN = "log.example.com/log"


def tesseract_program() -> str:
    """Its path. Without Go the test is left out, which it says."""
    return built("tesseract.sh", "TesseraCT", seconds=BUILD_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tesseract:
    folder: Path
    key: LogKey
    #: Where it takes submissions (its origin is another name: it takes none with a port), and where its tiles are.
    submission_url: str
    monitoring_url: str
    #: File of the CA of the server that serves the tiles.
    tls_ca: Path

    def submit(self, chains: Sequence[Sequence[bytes]], *, precertificates: bool = False) -> list[SCT]:
        """DER, the leaf first. The timestamps that it gives, in the same order."""
        # The first alone: of two that bring it the first issuer at once, TesseraCT refuses one (both make the issuers' folder).
        first = [self._submit(chain, precertificates) for chain in chains[:1]]
        with ThreadPoolExecutor(16) as pool:
            return [*first, *pool.map(lambda chain: self._submit(chain, precertificates), chains[1:])]

    def _submit(self, chain: Sequence[bytes], is_precertificate: bool) -> SCT:
        url = f"{self.submission_url}/ct/v1/add-{'pre-' if is_precertificate else ''}chain"
        body = json.dumps({"chain": [base64.b64encode(each).decode() for each in chain]}).encode()
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(url, body, timeout=30) as answer:  # noqa: S310 - ours
                    said = json.load(answer)
                break
            except urllib.error.HTTPError as error:
                # It pushes back while much is under way.
                if error.code not in (429, 503) or time.monotonic() > deadline:
                    raise AssertionError(error.read().decode("utf-8", "replace")) from error
                time.sleep(0.1)
        return SCT(
            log_id=base64.b64decode(said["id"]),
            timestamp=said["timestamp"],
            extensions=base64.b64decode(said["extensions"]),
            signature=base64.b64decode(said["signature"]),
        )

    @property
    def size(self) -> int:
        """Of its newest checkpoint."""
        data = (self.folder / "checkpoint").read_bytes()
        return parse_log_checkpoint(data, ORIGIN, self.key.log_id).size

    def wait(self, size: int) -> None:
        wait_until(lambda: self.size >= size, what=f"{size} entries of TesseraCT", seconds=60)

    def list_entry(self) -> dict[str, Any]:
        return {
            "description": "TesseraCT log",
            "log_id": base64.b64encode(self.key.log_id).decode(),
            "key": base64.b64encode(self.key.der).decode(),
            "submission_url": f"https://{ORIGIN}/",
            "monitoring_url": f"{self.monitoring_url}/",
            "mmd": 60,
            "state": {"usable": {"timestamp": "2026-01-01T00:00:00Z"}},
        }


@contextmanager
def tesseract(folder: Path, root: Issued) -> Iterator[Tesseract]:
    """A log that takes what `root` has issued."""
    binary = tesseract_program()
    private = key("ec", 60)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "key.pem").write_bytes(private.private_bytes(*formats, serialization.NoEncryption()))
    (folder / "roots.pem").write_bytes(root.pem)
    files = folder / "files"
    port = free_port()
    web = make_ca("Web CA", key_number=61)
    (folder / "web.pem").write_bytes(web.pem)
    server = make_certificate(issuer=web, names=["ip:127.0.0.1"], key_number=62, subject="web")
    command = [
        binary,
        f"-http_endpoint=127.0.0.1:{port}",
        f"-origin={ORIGIN}",
        "-path_prefix=/log",
        f"-private_key={folder}/key.pem",
        f"-roots_pem_file={folder}/roots.pem",
        f"-storage_dir={files}",
        "-enable_publication_awaiter=false",
        "-checkpoint_interval=1s",
        "-batch_max_age=100ms",
        "-garbage_collection_interval=2s",
    ]
    tiles = NginxServer(
        chain_pem=server.pem,
        key_pem=server.key_pem,
        directives=f"location /log/ {{ alias {files}/; gzip on; gzip_types *; gzip_min_length 0; }}",
    )
    with (
        running(
            command, ready=lambda: (files / "checkpoint").exists(), log=folder / "tesseract.log", seconds=60
        ),
        nginx(folder, [tiles]) as front,
    ):
        public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        yield Tesseract(
            folder=files,
            key=LogKey.read(private.public_key().public_bytes(*public)),
            submission_url=f"http://127.0.0.1:{port}/log",
            monitoring_url=f"https://127.0.0.1:{front.port}/log",
            tls_ca=folder / "web.pem",
        )
