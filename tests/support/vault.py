"""Vault: the server itself where it is there, else its PKI API as its documentation and source have it.

tools/vault.sh builds the server from HashiCorp's own modules; that takes long, so that no run needs it.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from tests.support.json_server import Answer, Asked, JSONServer, json_server
from tests.support.servers import accepts, free_port, running

ISSUER_INFO: dict[str, object] = {
    "issuer_name": "root",
    "is_default": True,
    "key_id": "3-4",
    "serial_number": "01",
}


def built() -> Path:
    """Where tools/vault.sh puts it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "certwatch" / "test-vault"


class VaultServer(Protocol):
    url: str
    #: May everything.
    root: str
    #: What its certificates are made by.
    now: datetime

    def issue(self, name: str) -> str:
        """Its serial number, as Vault writes it: hex with colons."""
        ...

    def revoke(self, serial: str) -> None: ...

    def forget(self, serial: str) -> None:
        """As `tidy`, and a restored backup, do."""
        ...

    def listed(self) -> list[str]: ...


@dataclass
class FakeVault:
    """The mount `pki`. Storage has serial numbers with hyphens, and lists in their order."""

    url: str = ""
    root: str = "root-token"
    now: datetime = EPOCH
    ca: Issued = field(default_factory=lambda: make_ca("Vault Root"))
    #: By storage key.
    certificates: dict[str, Issued] = field(default_factory=dict)
    revoked: dict[str, int] = field(default_factory=dict)
    #: OpenBao has pages, Vault has not.
    pages: bool = False
    tokens: set[str] = field(default_factory=set)
    #: Secrets engines, by path.
    mounts: dict[str, str] = field(default_factory=lambda: {"pki/": "pki", "secret/": "kv"})

    def issue(self, name: str) -> str:
        # Without a leading zero byte, which Vault does not write.
        serial = secrets.randbits(158) | 1 << 158
        made = make_certificate(
            issuer=self.ca, serial_number=serial, names=(f"dns:{name}",), not_after=EPOCH + timedelta(days=60)
        )
        written = serial.to_bytes(20, "big").hex("-")
        self.certificates[written] = made
        return written.replace("-", ":")

    def revoke(self, serial: str) -> None:
        self.revoked[serial.replace(":", "-")] = int(EPOCH.timestamp()) - 60

    def forget(self, serial: str) -> None:
        del self.certificates[serial.replace(":", "-")]

    def listed(self) -> list[str]:
        return [each.replace("-", ":") for each in self.certificates]

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/v1/")
        if path == "auth/approle/login":
            if asked.body != {"role_id": "role", "secret_id": "secret"}:
                return 400, {"errors": ["invalid role or secret ID"]}
            token = secrets.token_hex(8)
            self.tokens.add(token)
            return 200, {"auth": {"client_token": token}, "data": None}
        if asked.headers.get("x-vault-token") not in {self.root, *self.tokens}:
            return 403, {"errors": ["permission denied"]}
        if path == "sys/mounts":
            return 200, {"data": {path: {"type": type} for path, type in self.mounts.items()}}
        if not path.startswith("pki/"):
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        return self._pki(path.removeprefix("pki/"), asked)

    def _pki(self, path: str, asked: Asked) -> Answer:
        listing = asked.query.get("list") == "true"
        if path == "issuers" and listing:
            return 200, {"data": {"keys": ["1-2"], "key_info": {"1-2": ISSUER_INFO}}}
        if path == "issuer/1-2/json":
            return 200, {"data": {"certificate": self.ca.pem.decode(), "ca_chain": []}}
        if path == "config/crl":
            return 200, {
                "data": {"disable": False, "expiry": "72h", "auto_rebuild": False, "ocsp_disable": False}
            }
        if path == "config/auto-tidy":
            return 200, {"data": {"enabled": False, "interval_duration": 43200, "tidy_cert_store": False}}
        if path == "tidy-status":
            return 200, {"data": {"state": "Inactive", "error": None, "time_finished": None}}
        if path == "config/urls":
            return 200, {"data": {"crl_distribution_points": [], "ocsp_servers": ["http://ocsp.example"]}}
        if path in ("certs", "certs/revoked") and listing:
            keys = sorted(self.certificates if path == "certs" else self.revoked)
            if self.pages:
                keys = [each for each in keys if each > asked.query.get("after", "")]
                keys = keys[: int(asked.query.get("limit", len(keys)))]
            if not keys:
                return 404, {"errors": []}
            return 200, {"data": {"keys": [each.replace("-", ":") for each in keys]}}
        if path.startswith("cert/"):
            key = path.removeprefix("cert/").replace(":", "-")
            if key not in self.certificates:
                return 404, {"errors": []}
            return 200, {
                "data": {
                    "certificate": self.certificates[key].pem.decode(),
                    "revocation_time": self.revoked.get(key, 0),
                }
            }
        return 404, {"errors": ["unsupported path"]}


@contextmanager
def fake_vault() -> Iterator[tuple[FakeVault, JSONServer]]:
    fake = FakeVault()
    with json_server(fake.answer) as server:
        fake.url = server.url
        yield fake, server


class RealVault:
    """Vault in memory, with the mount `pki`."""

    def __init__(self, url: str, root: str) -> None:
        self.url = url
        self.root = root
        self.now = datetime.now(UTC)
        self._http = httpx.Client(base_url=f"{url}/v1", headers={"x-vault-token": root}, trust_env=False)
        self.call("sys/mounts/pki", type="pki", config={"max_lease_ttl": "87600h"})
        self.call("pki/root/generate/internal", common_name="Vault Root", ttl="87600h", key_type="ec")
        self.call("pki/config/urls", ocsp_servers=["http://ocsp.example"])
        self.call(
            "pki/roles/web", allow_any_name=True, key_type="ec", ttl="1440h", max_ttl="1440h", no_store=False
        )

    def call(self, path: str, **body: Any) -> Any:
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def issue(self, name: str) -> str:
        return str(self.call("pki/issue/web", common_name=name)["data"]["serial_number"])

    def revoke(self, serial: str) -> None:
        self.call("pki/revoke", serial_number=serial)

    def forget(self, serial: str) -> None:
        # Storage is open to root here.
        mounts = self._http.get("sys/mounts").json()["data"]
        key = f"sys/raw/logical/{mounts['pki/']['uuid']}/certs/{serial.replace(':', '-')}"
        answer = self._http.delete(key)
        assert answer.is_success, answer.text

    def listed(self) -> list[str]:
        return list(self._http.get("pki/certs", params={"list": "true"}).json()["data"]["keys"])

    def app_role(self) -> tuple[str, str]:
        """Role and secret, of one that may what the documentation says."""
        return self.role_with(
            Path("docs/ca-databases.md").read_text().partition("```hcl\n")[2].partition("```")[0]
        )

    def role_with(self, policy: str) -> tuple[str, str]:
        if "approle/" not in self._http.get("sys/auth").json()["data"]:
            self.call("sys/auth/approle", type="approle")
        self._http.put("sys/policies/acl/certwatch", json={"policy": policy}).raise_for_status()
        self.call("auth/approle/role/certwatch", token_policies=["certwatch"])
        role = self._http.get("auth/approle/role/certwatch/role-id").json()["data"]["role_id"]
        secret = self.call("auth/approle/role/certwatch/secret-id")["data"]["secret_id"]
        return role, secret

    def close(self) -> None:
        self._http.close()


@contextmanager
def real_vault(program: Path, log: Path) -> Iterator[RealVault]:
    port = free_port()

    def ready() -> bool:
        # It listens before it tells its token.
        return b"hvs." in log.read_bytes() and accepts(port)

    with running([str(program), f"127.0.0.1:{port}"], ready=ready, log=log, seconds=60):
        # Not by its place: Vault may complain before.
        root = next(each for each in log.read_text().split() if each.startswith("hvs."))
        server = RealVault(f"http://127.0.0.1:{port}", root)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def vault_itself(folder: Path) -> Iterator[RealVault]:
    """Leaves the test out where it was not built: that takes longer than all tests, and the API as documented stands in."""
    if not built().exists():
        pytest.skip(f"{built()} is not there. Build it with tools/vault.sh")
    with real_vault(built(), folder / "log") as server:
        yield server
