"""Certificate and key in a Secret, by server-side apply: labels, annotations and all other keys stay as they are."""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec
from pydantic import Field

from certwatch.doors.kubernetes import Access, Client, RequestFailed, from_kubeconfig, in_cluster
from certwatch.doors.kubernetes.access import current_context, kubeconfig_path
from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.former import changed_meanwhile, is_former, not_as_planned
from certwatch.remediation.deployers.refused import refused
from certwatch.x509.pem import blocks

MANAGER = "certwatch"
#: The Secret beside it that holds what was there, while a roll-out is under way.
FORMER = "-certwatch-former"
#: Managers of fields that make what is in the Secret themselves: what is put there would not stay.
OWNERS = ("cert-manager", "external-secrets", "sealed-secrets", "argocd", "helm")


class KubernetesConfig(DeployerConfig):
    #: Name of the cluster, as it stands in locations. None: any.
    cluster: str | None = Field(default=None, min_length=1)
    #: None: the pod's own service account, where there is one; else $KUBECONFIG, else ~/.kube/config.
    kubeconfig: str | None = None
    #: None: the kubeconfig's current one.
    context: str | None = None
    #: Namespaces whose Secrets may be written. Empty: all.
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Secret:
    cluster: str
    namespace: str
    name: str
    #: Of the certificate.
    key: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{quote(self.name, safe='')}"

    @property
    def folder(self) -> str:
        return f"/api/v1/namespaces/{quote(self.namespace, safe='')}/secrets"

    @property
    def former(self) -> str:
        return f"{self.name[: 253 - len(FORMER)]}{FORMER}"

    @property
    def former_path(self) -> str:
        return f"{self.folder}/{quote(self.former, safe='')}"

    @property
    def private_key(self) -> str:
        return "tls.key" if self.key == "tls.crt" else f"{self.key.rpartition('.')[0]}.key"


class KubernetesDeployer:
    Config: ClassVar[type[DeployerConfig]] = KubernetesConfig

    def __init__(self, config: KubernetesConfig, context: DeployerContext) -> None:
        self._config = config

    def takes(self, target: Target) -> bool:
        found = secret_of(target.uri)
        if found is None or (self._config.cluster is not None and found.cluster != self._config.cluster):
            return False
        return not self._config.namespaces or found.namespace in self._config.namespaces

    async def deploy(self, target: Target, material: Material) -> None:
        secret = self._secret(target)
        async with self.client(target) as client:
            present = await get_object(client, secret.path)
            kept = await _get_or_none(client, secret.former_path)
            if kept is None or not is_former(certificates_in(kept, secret, target), target.former):
                self._check(present, secret, target)
                if kept is not None:
                    # Of an earlier roll-out, which could not tidy up.
                    await client.delete(secret.former_path)
                await client.create(secret.folder, encode(_former(present, secret)))
            else:
                self._check_ours(present, secret, target)
            data = {secret.key: material.chain_pem, secret.private_key: material.key_pem}
            await client.apply(secret.path, encode(_applied(present, data)), manager=MANAGER, force=True)

    async def present(self, target: Target) -> tuple[bytes, ...]:
        secret = self._secret(target)
        async with self.client(target) as client:
            return certificates_in(await get_object(client, secret.path), secret, target)

    async def activate(self, targets: Sequence[Target]) -> None:
        """Kubelets and controllers take a Secret up by themselves."""

    async def undo(self, target: Target) -> None:
        secret = self._secret(target)
        async with self.client(target) as client:
            kept = await _get_or_none(client, secret.former_path)
            if kept is None or not is_former(certificates_in(kept, secret, target), target.former):
                return
            present = await get_object(client, secret.path)
            self._check_ours(present, secret, target)
            data = {name: _decoded(value, target) for name, value in (kept.get("data") or {}).items()}
            await client.apply(secret.path, encode(_applied(present, data)), manager=MANAGER, force=True)

    async def forget(self, target: Target) -> None:
        secret = self._secret(target)
        async with self.client(target) as client:
            kept = await _get_or_none(client, secret.former_path)
            if kept is not None and is_former(certificates_in(kept, secret, target), target.former):
                await client.delete(secret.former_path)

    def _secret(self, target: Target) -> _Secret:
        found = secret_of(target.uri)
        if found is None:
            raise DeployFailed("other", "is not the certificate of a Secret")
        return found

    def _check(self, present: Mapping[str, Any], secret: _Secret, target: Target) -> None:
        """It is as it was planned, and nobody puts it back at once. Raises DeployFailed."""
        data = present.get("data") or {}
        if not is_former(certificates_in(present, secret, target), target.former):
            raise not_as_planned()
        if secret.private_key not in data:
            raise DeployFailed("not-found", f"has no {secret.private_key} beside {secret.key}")
        metadata = present.get("metadata") or {}
        keeper = next((each for each in _managers(present, secret) if each.startswith(OWNERS)), None)
        if "cert-manager.io/certificate-name" in (metadata.get("annotations") or {}):
            keeper = "cert-manager"
        if keeper is not None:
            raise DeployFailed(
                "permission",
                f"is kept by {keeper}, which would put its own back. Have that renew it"
                + (" (kind: cert-manager)" if keeper.startswith("cert-manager") else ""),
            )
        if present.get("immutable"):
            raise DeployFailed("permission", "is immutable: make another Secret")

    def _check_ours(self, present: Mapping[str, Any], secret: _Secret, target: Target) -> None:
        """Raises DeployFailed: somebody else has written to it since the roll-out began."""
        chain = certificates_in(present, secret, target)
        if not is_former(chain, target.former) and MANAGER not in _managers(present, secret):
            raise changed_meanwhile()

    @asynccontextmanager
    async def client(
        self,
        target: Target,
        *,
        grant: str = "Grant get, create, patch and delete on secrets in that namespace",
    ) -> AsyncIterator[Client]:
        """Its refusals become DeployFailed; `grant`: what to do about a right that is missing."""
        secret = self._secret(target)
        try:
            async with Client(secret.cluster, self._access) as client:
                yield client
        except RequestFailed as error:
            raise refused(
                error.status,
                error.message,
                kinds={409: "changed"},
                advice={403: grant, 409: "Somebody else changed it at the same time: plan it anew"},
            ) from error

    def _access(self) -> Access:
        config = self._config
        if config.kubeconfig is None and config.context is None:
            found = in_cluster(os.environ)
            if found is not None:
                return found
        path = Path(config.kubeconfig) if config.kubeconfig is not None else kubeconfig_path(os.environ)
        return from_kubeconfig(path, config.context or current_context(path))


def secret_of(uri: str) -> _Secret | None:
    parts = urlsplit(uri)
    steps = [unquote(each) for each in f"{parts.netloc}{parts.path}".split("/")]
    if parts.scheme != "k8s" or len(steps) != 4 or steps[2] != "secret" or parts.fragment:
        return None
    key = parse_qs(parts.query).get("key", [""])[0]
    return (
        _Secret(steps[0], steps[1], steps[3], key)
        if key.endswith((".crt", ".pem", ".cer", ".cert"))
        else None
    )


def certificates_in(present: Mapping[str, Any], secret: _Secret, target: Target) -> tuple[bytes, ...]:
    data = _decoded((present.get("data") or {}).get(secret.key, ""), target)
    return tuple(each.data for each in blocks(data) if each.is_certificate and each.data)


def _managers(present: Mapping[str, Any], secret: _Secret) -> list[str]:
    """Who has written the certificate there last, by the API server's own record."""
    return [
        str(each.get("manager", ""))
        for each in (present.get("metadata") or {}).get("managedFields") or ()
        if f"f:{secret.key}" in ((each.get("fieldsV1") or {}).get("f:data") or {})
    ]


async def get_object(client: Client, path: str) -> dict[str, Any]:
    found = msgspec.json.decode(await client.get(path))
    if not isinstance(found, dict):
        raise DeployFailed("other", "the API server gave no object")
    return found


async def _get_or_none(client: Client, path: str) -> dict[str, Any] | None:
    try:
        return await get_object(client, path)
    except RequestFailed as error:
        if error.status == 404:
            return None
        raise


def _applied(present: Mapping[str, Any], data: Mapping[str, bytes]) -> dict[str, Any]:
    """Only if the object is still the one that was read."""
    metadata = present.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": metadata.get("name"),
            "namespace": metadata.get("namespace"),
            "resourceVersion": metadata.get("resourceVersion"),
        },
        "type": present.get("type", "Opaque"),
        "data": {name: b64encode(value).decode() for name, value in data.items()},
    }


def _former(present: Mapping[str, Any], secret: _Secret) -> dict[str, Any]:
    data = present.get("data") or {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret.former,
            "namespace": secret.namespace,
            "labels": {"app.kubernetes.io/managed-by": "certwatch"},
            "annotations": {"certwatch/former-of": secret.name},
        },
        "type": "Opaque",
        "data": {name: data[name] for name in (secret.key, secret.private_key)},
    }


def encode(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)


def _decoded(value: object, target: Target) -> bytes:
    try:
        return b64decode(str(value), validate=True)
    except Base64Error as error:
        raise DeployFailed("other", f"{target.uri}: its data is not base64") from error
