"""A real kube-apiserver with etcd, found as envtest finds them: in $KUBEBUILDER_ASSETS, else where
`tools/kube_apiserver.sh` builds it. Nothing else of a cluster runs: what objects say, tests write."""

import base64
import json
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ExtendedKeyUsage
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwatch.plugins.testing import key, make_ca, make_certificate
from tests.support import kube_build
from tests.support.servers import SEARCH, accepts, free_port, running, stop

TOKEN = "admin-token"
#: Users by token, with the groups they are in.
_USERS = (
    f"{TOKEN},admin,1,system:masters",
    "nobody-token,nobody,2,nobodies",
    "reader-token,reader,3,readers",
)


def binary(name: str) -> Path:
    """Not there: the test is left out, and says why. That it could not be built is told by one test of its own
    (tests/integration/test_kubernetes_servers.py)."""
    there = kube_build.found(name) or shutil.which(name, path=SEARCH)
    if there is None:
        pytest.skip(kube_build.why_not(name).splitlines()[0])
    return Path(there)


@dataclass(kw_only=True)
class APIServer:
    folder: Path
    port: int
    command: Sequence[str | Path]
    ca: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _open(
        self,
        path: str,
        *,
        method: str = "GET",
        data: bytes | None = None,
        token: str = TOKEN,
        kind: str = "",
        seconds: float = 30,
    ) -> bytes:
        request = urllib.request.Request(self.url + path, method=method, data=data)  # noqa: S310
        request.add_header("authorization", f"Bearer {token}")
        request.add_header("content-type", kind)
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(request, timeout=seconds, context=context) as answer:  # noqa: S310
            return bytes(answer.read())

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = TOKEN,
        kind: str = "application/json",
    ) -> Any:
        """Raises urllib's HTTPError."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        try:
            return json.loads(self._open(path, method=method, data=data, token=token, kind=kind))
        except urllib.error.HTTPError as error:
            error.add_note(error.read(4096).decode(errors="replace"))
            raise

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.ask("POST", path, body)

    def put_in(self, path: str, body: bytes) -> None:
        """POST of JSON that no parser here would read back."""
        self._open(path, method="POST", data=body, kind="application/json")

    def has(self, path: str) -> bool:
        try:
            self.ask("GET", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True

    def namespace(self, name: str, **metadata: Any) -> None:
        self.create("/api/v1/namespaces", {"metadata": {"name": name, **metadata}})

    def secret(
        self, namespace: str, name: str, data: Mapping[str, bytes], *, type: str = "Opaque", **metadata: Any
    ) -> Any:
        return self.create(
            f"/api/v1/namespaces/{namespace}/secrets", secret(namespace, name, data, type=type, **metadata)
        )

    def replace_secret(
        self, namespace: str, name: str, data: Mapping[str, bytes], *, type: str = "Opaque", **metadata: Any
    ) -> Any:
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        return self.ask("PUT", path, secret(namespace, name, data, type=type, **metadata))

    def delete(self, path: str) -> None:
        self.ask("DELETE", path)

    def status(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.ask("PATCH", f"{path}/status", {"status": body}, kind="application/merge-patch+json")

    def kubeconfig(self, name: str = "prod", *, token: str = TOKEN, port: int | None = None) -> Path:
        path = self.folder / f"kubeconfig-{name}-{token[-16:]}.yaml"
        path.write_text(
            yaml.safe_dump(
                kubeconfig([(name, f"https://127.0.0.1:{port or self.port}", self.ca.read_bytes(), token)])
            )
        )
        return path

    def requests(self, verb: str, resource: str) -> float:
        """How many the server has counted."""
        lines = self._open("/metrics").decode().splitlines()
        wanted = (f'verb="{verb}"', f'resource="{resource}"')
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith("apiserver_request_total{") and all(each in line for each in wanted)
        )

    def open_requests(self, verb: str, resource: str) -> float:
        """How many it has under way: watches."""
        lines = self._open("/metrics").decode().splitlines()
        wanted = (f'verb="{verb}"', f'resource="{resource}"')
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith("apiserver_longrunning_requests{") and all(each in line for each in wanted)
        )

    def ready(self) -> bool:
        try:
            return self._open("/readyz", seconds=2) == b"ok"
        except OSError:
            return False


def secret(
    namespace: str, name: str, data: Mapping[str, bytes], *, type: str = "Opaque", **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "type": type,
        "data": {each: base64.b64encode(value).decode() for each, value in data.items()},
    }


def kubeconfig(clusters: Sequence[tuple[str, str, bytes, str]]) -> dict[str, Any]:
    """Of name, URL, CA in PEM and token each."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": clusters[0][0],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name, *_ in clusters],
        "clusters": [
            {
                "name": name,
                "cluster": {"server": url, "certificate-authority-data": base64.b64encode(ca).decode()},
            }
            for name, url, ca, _ in clusters
        ],
        "users": [{"name": name, "user": {"token": token}} for name, _, _, token in clusters],
    }


@contextmanager
def api_server(folder: Path, *, more: Sequence[str] = ()) -> Iterator[APIServer]:
    """Runs until the block ends. About five seconds to start."""
    apiserver, etcd = binary("kube-apiserver"), binary("etcd")
    folder.mkdir(exist_ok=True)
    _write_keys(folder)
    client, peer, port = free_port(), free_port(), free_port()
    etcd_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    command: list[str | Path] = [
        apiserver,
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        "--advertise-address=192.0.2.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={folder}/certs",
        f"--tls-cert-file={folder}/server.pem",
        f"--tls-private-key-file={folder}/server.key",
        f"--token-auth-file={folder}/tokens.csv",
        f"--client-ca-file={folder}/ca.pem",
        f"--service-account-key-file={folder}/sa.pub",
        f"--service-account-signing-key-file={folder}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--watch-cache=true",
        "--audit-log-path=",
        "--v=0",
        *more,
    ]
    with (
        running(
            [
                etcd,
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls={etcd_url}",
                f"--advertise-client-urls={etcd_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",
                "--quota-backend-bytes=8589934592",
            ],
            ready=lambda: accepts(client),
            log=folder / "etcd.log",
        ),
    ):
        server = APIServer(folder=folder, port=port, command=command, ca=folder / "ca.pem")
        with serving(server):
            yield server


@contextmanager
def serving(server: APIServer) -> Iterator[None]:
    with running(
        server.command, ready=server.ready, log=server.folder / "apiserver.log", seconds=60
    ) as process:
        server.process = process
        yield
        if server.process is not process and server.process is not None:
            stop(server.process)


def _write_keys(folder: Path) -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    ca = make_ca("kubernetes", not_before=now - timedelta(days=1), key_number=300)
    served = make_certificate(
        names=["dns:localhost", "ip:127.0.0.1"],
        issuer=ca,
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=1),
        key_number=301,
    )
    reader = make_certificate(
        names=[],
        subject="reader",
        issuer=ca,
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=1),
        key_number=303,
        extensions=[(ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)],
    )
    # The user "reader", by certificate.
    (folder / "reader.pem").write_bytes(reader.pem)
    (folder / "reader.key").write_bytes(reader.key_pem)
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "server.pem").write_bytes(served.chain_pem)
    (folder / "server.key").write_bytes(served.key_pem)
    (folder / "tokens.csv").write_text("\n".join(_USERS) + "\n")
    signing = key("rsa", 302)
    (folder / "sa.key").write_bytes(
        signing.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "sa.pub").write_bytes(
        signing.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
