"""Secrets that cert-manager keeps: it is told to renew, as `cmctl renew` does, and what it puts there is looked at.

Nothing is issued here, and no key is seen: cert-manager makes and keeps it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, ClassVar
from urllib.parse import quote

from certwatch.doors.kubernetes import Client
from certwatch.model.instants import iso
from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.former import is_former
from certwatch.remediation.deployers.kubernetes import (
    KubernetesConfig,
    KubernetesDeployer,
    certificates_in,
    encode,
    get_object,
    secret_of,
)

ANNOTATION = "cert-manager.io/certificate-name"
#: Between two looks whether it has renewed.
POLL_SECONDS = 1.0
KEPT = (
    "cert-manager keeps it, and has made its key: the former one cannot be put back. What it put there stays"
)
GRANT = "Grant get on certificates and patch on certificates/status (cert-manager.io) in that namespace"


class CertManagerConfig(KubernetesConfig):
    #: Names of the Secrets, with "*" and "?". Empty: all.
    secrets: tuple[str, ...] = ()


class CertManagerDeployer:
    Config: ClassVar[type[DeployerConfig]] = CertManagerConfig

    def __init__(self, config: CertManagerConfig, context: DeployerContext) -> None:
        self._config = config
        self._clock = context.clock
        plain = KubernetesConfig(**config.model_dump(exclude={"secrets"}))
        self._secrets = KubernetesDeployer(plain, context)

    def takes(self, target: Target) -> bool:
        found = secret_of(target.uri)
        if found is None or found.key != "tls.crt" or not self._secrets.takes(target):
            return False
        return not self._config.secrets or any(fnmatchcase(found.name, each) for each in self._config.secrets)

    async def renew(self, target: Target, within: timedelta) -> tuple[bytes, ...]:
        secret = secret_of(target.uri)
        assert secret is not None  # noqa: S101 - it took the target
        deadline = time.monotonic() + within.total_seconds()
        async with self._client(target) as client:
            present = await get_object(client, secret.path)
            chain = certificates_in(present, secret, target)
            if chain and not is_former(chain, target.former):
                # Also by an earlier call, which a crash ended.
                return chain
            name = ((present.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
            if not name:
                raise DeployFailed(
                    "other",
                    f"has no annotation {ANNOTATION}: cert-manager does not keep it. Deploy to it by kind: kubernetes",
                )
            path = f"/apis/cert-manager.io/v1/namespaces/{quote(secret.namespace, safe='')}/certificates/{quote(str(name), safe='')}"
            failures = await self._trigger(client, path)
            while True:
                await asyncio.sleep(POLL_SECONDS)
                chain = certificates_in(await get_object(client, secret.path), secret, target)
                if chain and not is_former(chain, target.former):
                    return chain
                await self._check_failure(client, path, failures)
                if time.monotonic() > deadline:
                    raise DeployFailed(
                        "timeout", f"cert-manager has not renewed {name} within {within.total_seconds():g} s"
                    )

    async def _trigger(self, client: Client, path: str) -> int:
        """The condition Issuing, as `cmctl renew` sets it; only on the object that was read. How often it has failed before."""
        found = await get_object(client, path)
        conditions = _conditions(found)
        metadata = found.get("metadata") or {}
        if not any(each.get("type") == "Issuing" and each.get("status") == "True" for each in conditions):
            issuing = {
                "type": "Issuing",
                "status": "True",
                "reason": "ManuallyTriggered",
                "message": "Certificate re-issuance manually triggered by certwatch",
                "lastTransitionTime": iso(self._clock().replace(microsecond=0)),
                "observedGeneration": metadata.get("generation", 0),
            }
            rest = [each for each in conditions if each.get("type") != "Issuing"]
            body = {
                "metadata": {"resourceVersion": metadata.get("resourceVersion")},
                "status": {"conditions": [*rest, issuing]},
            }
            await client.merge(f"{path}/status", encode(body))
        return _failures(found)

    async def _check_failure(self, client: Client, path: str, before: int) -> None:
        found = await get_object(client, path)
        if _failures(found) > before:
            said = next((each for each in _conditions(found) if each.get("type") == "Issuing"), {})
            raise DeployFailed(
                "other", f"cert-manager: {str(said.get('message') or 'issuance failed')[:300]}"
            )

    async def deploy(self, target: Target, material: Material) -> None:
        raise DeployFailed("permission", "cert-manager keeps it, and would put its own back")

    async def present(self, target: Target) -> tuple[bytes, ...]:
        return await self._secrets.present(target)

    async def activate(self, targets: Sequence[Target]) -> None:
        """Kubelets and controllers take a Secret up by themselves."""

    async def undo(self, target: Target) -> None:
        chain = await self.present(target)
        if not is_former(chain, target.former):
            raise DeployFailed("other", KEPT)

    async def forget(self, target: Target) -> None:
        """Nothing is kept."""

    def _client(self, target: Target) -> AbstractAsyncContextManager[Client]:
        return self._secrets.client(target, grant=GRANT)


def _conditions(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = (found.get("status") or {}).get("conditions")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _failures(found: Mapping[str, Any]) -> int:
    count = (found.get("status") or {}).get("failedIssuanceAttempts")
    return count if isinstance(count, int) else 0
