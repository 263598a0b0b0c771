"""Certificates in ACM, imported anew under the same ARN; server certificates in IAM, of which a new one is uploaded, and the
load balancers that use the former one are given it."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.aws import acm, iam
from certwatch.remediation.deployers.aws.access import AWSConfig, open_account
from certwatch.remediation.deployers.aws.place import place_of


class AWSDeployer:
    Config: ClassVar[type[DeployerConfig]] = AWSConfig

    def __init__(self, config: AWSConfig, context: DeployerContext) -> None:
        self._config = config

    def takes(self, target: Target) -> bool:
        place = place_of(target)
        return place is not None and (not self._config.accounts or place.account in self._config.accounts)

    async def deploy(self, target: Target, material: Material) -> None:
        await asyncio.to_thread(self._deploy, target, material)

    async def present(self, target: Target) -> tuple[bytes, ...]:
        return await asyncio.to_thread(self._present, target)

    async def activate(self, targets: Sequence[Target]) -> None:
        """Load balancers and distributions take it up by themselves, within minutes."""

    async def undo(self, target: Target) -> None:
        await asyncio.to_thread(self._undo, target)

    async def forget(self, target: Target) -> None:
        await asyncio.to_thread(self._forget, target)

    def _deploy(self, target: Target, material: Material) -> None:
        store = self._store(target)
        store.deploy(target.former, material)

    def _present(self, target: Target) -> tuple[bytes, ...]:
        return self._store(target).present(target.former)

    def _undo(self, target: Target) -> None:
        self._store(target).undo(target.former)

    def _forget(self, target: Target) -> None:
        self._store(target).forget(target.former)

    def _store(self, target: Target) -> "acm.Imported | iam.Stored | iam.AtListener":
        place = place_of(target)
        if place is None:
            raise DeployFailed("other", "is no certificate in ACM or IAM, and nothing that uses one")
        account = open_account(self._config, place.account)
        return _STORES[place.store](account, place, self._config)


_STORES: dict[str, "type[acm.Imported] | type[iam.Stored] | type[iam.AtListener]"] = {
    "acm": acm.Imported,
    "iam": iam.Stored,
    "listener": iam.AtListener,
}

__all__ = ["AWSConfig", "AWSDeployer"]
