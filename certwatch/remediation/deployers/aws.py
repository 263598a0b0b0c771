"""A certificate that was imported into ACM: imported anew under the same ARN, so that whatever uses it goes on with it."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import Field

from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.plugins.deployer import (
    DeployerConfig,
    DeployerContext,
    DeployErrorKind,
    DeployFailed,
    Material,
    Target,
)
from certwatch.x509.der import read
from certwatch.x509.pem import blocks

#: What it asks of AWS: docs/remediation.md has it as a policy.
OPERATIONS = {"acm": frozenset({"ImportCertificate", "GetCertificate", "DescribeCertificate"})}


class AWSConfig(DeployerConfig):
    #: A profile of ~/.aws/config. None: the usual chain (environment, container, instance).
    profile: str | None = None
    #: Role to take on, where the certificate is in another account; its external id.
    role_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    external_id: str | None = None
    #: Accounts whose certificates may be replaced. Empty: all that the credentials reach.
    accounts: tuple[Annotated[str, Field(pattern=r"^\d{12}$")], ...] = ()
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None


class AWSDeployer:
    Config: ClassVar[type[DeployerConfig]] = AWSConfig

    def __init__(self, config: AWSConfig, context: DeployerContext) -> None:
        self._config = config

    def takes(self, target: Target) -> bool:
        place = _place(target.uri)
        return place is not None and (not self._config.accounts or place[0] in self._config.accounts)

    async def deploy(self, target: Target, material: Material) -> None:
        await asyncio.to_thread(self._deploy, target, material)

    async def present(self, target: Target) -> tuple[bytes, ...]:
        return await asyncio.to_thread(self._chain, target)

    async def activate(self, targets: Sequence[Target]) -> None:
        """Load balancers and distributions take it up by themselves, within minutes."""

    async def undo(self, target: Target) -> None:
        chain = await self.present(target)
        if chain and read(chain[0]).fingerprint_sha256 == target.former.fingerprint_sha256:
            return
        raise DeployFailed(
            "other",
            "ACM gives no private key back, so that the former certificate cannot be imported again. The new one stays",
        )

    async def forget(self, target: Target) -> None:
        """Nothing is kept."""

    def _deploy(self, target: Target, material: Material) -> None:
        client, arn = self._client(target)
        described = _ask(client, "DescribeCertificate", CertificateArn=arn)["Certificate"]
        if described.get("Type") != "IMPORTED":
            raise DeployFailed(
                "permission",
                f"is of type {described.get('Type')}: ACM renews it by itself, and only what was imported can be replaced",
            )
        if self._leaf(client, arn) not in (
            target.former.fingerprint_sha256,
            material.certificate.fingerprint_sha256,
        ) and not self._is_ours(client, arn, material):
            raise DeployFailed(
                "changed", "holds another certificate than the one that was planned to go. Plan it anew"
            )
        leaf, *above = _split(material.chain_pem)
        more = {"CertificateChain": b"".join(above)} if above else {}
        _ask(
            client,
            "ImportCertificate",
            CertificateArn=arn,
            Certificate=leaf,
            PrivateKey=material.key_pem,
            **more,
        )
        if self._leaf(client, arn) != material.certificate.fingerprint_sha256:
            raise DeployFailed("other", "ACM took the certificate and shows another one")

    def _is_ours(self, client: Any, arn: str, material: Material) -> bool:
        """Imported by a roll-out that a crash ended: of the same issuer and for the same names."""
        present = self._read(client, arn)
        return present.issuer_der == material.certificate.issuer_der and set(present.names) == set(
            material.certificate.names
        )

    def _chain(self, target: Target) -> tuple[bytes, ...]:
        client, arn = self._client(target)
        said = _ask(client, "GetCertificate", CertificateArn=arn)
        pem = f"{said['Certificate']}\n{said.get('CertificateChain') or ''}".encode()
        return tuple(each.data for each in blocks(pem) if each.is_certificate and each.data)

    def _leaf(self, client: Any, arn: str) -> Fingerprint:
        return self._read(client, arn).fingerprint_sha256

    def _read(self, client: Any, arn: str) -> Certificate:
        pem = str(_ask(client, "GetCertificate", CertificateArn=arn)["Certificate"]).encode()
        return read(next((each.data for each in blocks(pem) if each.data), b""))

    def _client(self, target: Target) -> tuple[Any, str]:
        place = _place(target.uri)
        if place is None:
            raise DeployFailed("other", "is not a certificate in ACM")
        account, region, id = place
        opened = _account(self._config, account)
        return opened.client("acm", region), f"arn:{opened.partition}:acm:{region}:{account}:certificate/{id}"


@cache
def _door(endpoint_url: str | None) -> Any:
    try:
        from certwatch.doors.aws import Door, Limits
    except ModuleNotFoundError as error:
        raise DeployFailed(
            "other", 'AWS needs boto3. Install it with: pip install "certwatch[aws]"'
        ) from error
    return Door(OPERATIONS, Limits(), endpoint_url=endpoint_url)


def _account(config: AWSConfig, account: str) -> Any:
    door = _door(config.endpoint_url)
    from certwatch.doors.aws import AWSError, Role

    role = (
        Role(arn=config.role_arn, external_id=config.external_id, session_name="certwatch")
        if config.role_arn
        else None
    )
    try:
        opened = door.account("remediation", id=account, profile=config.profile, role=role)
    except AWSError as error:
        raise _failed(error) from error
    if opened.id != account:
        raise DeployFailed(
            "permission",
            f"the credentials are of account {opened.id}: give role_arn: of account {account}",
        )
    return opened


def _ask(client: Any, operation: str, **parameters: Any) -> Any:
    from certwatch.doors.aws import AWSError

    try:
        return client.call(operation, **parameters)
    except AWSError as error:
        raise _failed(error) from error


def _failed(error: Any) -> DeployFailed:
    kinds: dict[str, DeployErrorKind] = {
        "permission": "permission",
        "not-found": "not-found",
        "timeout": "timeout",
    }
    return DeployFailed(kinds.get(error.kind, "unavailable"), error.message, again=error.kind not in kinds)


def _place(uri: str) -> tuple[str, str, str] | None:
    """Account, region and id."""
    parts = urlsplit(uri)
    steps = [unquote(each) for each in f"{parts.netloc}{parts.path}".split("/")]
    if parts.scheme != "aws" or len(steps) != 4 or steps[2] != "acm" or parts.fragment:
        return None
    return steps[0], steps[1], steps[3]


def _split(chain_pem: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    return [each.lstrip() + end + b"\n" for each in chain_pem.split(end)[:-1]]
