"""Certificates of a PKI mount of Vault: the server itself, where tools/vault.sh has built it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.model.clock import system_clock
from certwatch.plugins.issuer import CertificateRequest, IssueFailed, IssuerContext
from certwatch.remediation.issuers.vault import VaultConfig, VaultIssuer
from certwatch.remediation.material import csr_for, material_of, new_key
from certwatch.x509.der import read
from tests.support.servers import free_port
from tests.support.vault import RealVault, vault_itself

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]
NAMES = ("dns:www.example.com", "dns:example.com", "ip:192.0.2.7")
POLICY = (
    'path "pki/sign/web" { capabilities = ["update"] }\npath "pki/revoke" { capabilities = ["update"] }\n'
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealVault]:
    with vault_itself(tmp_path_factory.mktemp("vault")) as server:
        yield server


def issuer(folder: Path, vault: RealVault, token: str | None = None, **more: Any) -> VaultIssuer:
    path = folder / "token"
    path.write_text((token or vault.root) + "\n")
    keys = {"url": vault.url, "role": "web", "token_file": str(path), **more}
    return VaultIssuer(VaultConfig(**keys), IssuerContext(clock=system_clock))


def request() -> tuple[Any, CertificateRequest]:
    key = new_key("ec-p256")
    csr = csr_for(key, NAMES)
    return key, CertificateRequest(csr_pem=csr, names=NAMES, replaces=None, idempotency_key="1")


async def test_it_signs_for_the_names_that_were_asked_for_and_revokes(
    tmp_path: Path, vault: RealVault
) -> None:
    it = issuer(tmp_path, vault, lifetime="48h")
    key, wanted = request()
    made = material_of(key.public_key(), await it.issue(wanted), NAMES, key_pem=b"")
    leaf = x509.load_pem_x509_certificate(made.chain_pem)
    assert leaf.issuer.rfc4514_string() == "CN=Vault Root"
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == pytest.approx(
        48 * 3600, abs=120
    )
    # Its root stands above it, which nobody presents.
    assert made.chain_pem.count(b"BEGIN CERTIFICATE") == 1
    await it.revoke(read(leaf.public_bytes(Encoding.DER)), "superseded")
    await it.revoke(read(leaf.public_bytes(Encoding.DER)), "superseded")


async def test_an_app_role_with_just_what_it_needs_is_enough(tmp_path: Path, vault: RealVault) -> None:
    role, secret = vault.role_with(POLICY)
    path = tmp_path / "secret"
    path.write_text(secret)
    it = issuer(tmp_path, vault, token_file=None, role_id=role, secret_id_file=str(path))
    key, wanted = request()
    made = material_of(key.public_key(), await it.issue(wanted), NAMES, key_pem=b"")
    await it.revoke(made.certificate, "superseded")


async def test_a_right_that_is_missing_is_named_and_it_is_not_tried_again(
    tmp_path: Path, vault: RealVault
) -> None:
    with pytest.raises(IssueFailed, match="Grant update on pki/sign/web") as failed:
        await issuer(tmp_path, vault, token="nobody").issue(request()[1])
    assert (failed.value.kind, failed.value.again) == ("refused", False)
    with pytest.raises(IssueFailed, match="unknown role") as failed:
        await issuer(tmp_path, vault, role="other").issue(request()[1])
    assert failed.value.kind == "refused"


async def test_one_that_is_down_is_asked_again_later(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t")
    url = f"http://127.0.0.1:{free_port()}"
    config = VaultConfig(url=url, role="web", token_file=str(path))
    with pytest.raises(IssueFailed) as failed:
        await VaultIssuer(config, IssuerContext(clock=system_clock)).issue(request()[1])
    assert (failed.value.kind, failed.value.again) == ("unavailable", True)
