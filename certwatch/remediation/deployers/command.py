"""A command of yours: by SSH to another host, into a keystore, to an appliance. The protocol is in docs/remediation.md.

It is started for each operation, and gets one JSON object on standard input. It succeeds by ending with 0."""

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from pydantic import BeforeValidator, Field

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.commands import CommandFailed, run_command
from certwatch.x509.pem import blocks


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CommandConfig(DeployerConfig):
    #: Word by word, without a shell.
    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    #: Locations that it takes, "*" for anything: "tls://10.0.*", "file:///srv/appliance/*".
    locations: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    #: It knows the operation "csr": keys are made there, and never travel.
    makes_keys: bool = False


class CommandDeployer:
    Config: ClassVar[type[DeployerConfig]] = CommandConfig

    def __init__(self, config: CommandConfig, context: DeployerContext) -> None:
        self._config = config
        self._patterns = [
            re.compile(".*".join(map(re.escape, each.split("*"))), re.DOTALL) for each in config.locations
        ]
        # One at a time: such commands are seldom made for more.
        self._turn = asyncio.Lock()

    def takes(self, target: Target) -> bool:
        return any(each.fullmatch(target.uri) for each in self._patterns)

    @property
    def makes_keys(self) -> bool:
        return self._config.makes_keys

    async def csr(self, target: Target, names: Sequence[str], key_type: str) -> bytes:
        return await self._run(
            {"operation": "csr", **_said(target), "names": list(names), "key_type": key_type}
        )

    async def deploy(self, target: Target, material: Material) -> None:
        said = {
            "operation": "deploy",
            **_said(target),
            "chain_pem": material.chain_pem.decode(),
            **({"key_pem": material.key_pem.decode()} if material.key_pem else {}),
            "fingerprint_sha256": material.certificate.fingerprint_sha256.hex(),
        }
        # The lines of the key, which it may print by mistake, as PEM or as JSON.
        await self._run(said, secrets=material.key_pem.split(b"\n")[1:-2])

    async def present(self, target: Target) -> tuple[bytes, ...]:
        printed = await self._run({"operation": "present", **_said(target)})
        return tuple(each.data for each in blocks(printed) if each.is_certificate and each.data)

    async def activate(self, targets: Sequence[Target]) -> None:
        await self._run({"operation": "activate", "locations": [each.uri for each in targets]})

    async def undo(self, target: Target) -> None:
        await self._run({"operation": "undo", **_said(target)})

    async def forget(self, target: Target) -> None:
        await self._run({"operation": "forget", **_said(target)})

    async def _run(self, said: dict[str, Any], *, secrets: Sequence[bytes] = ()) -> bytes:
        async with self._turn:
            try:
                return await run_command(
                    self._config.command,
                    self._config.seconds,
                    stdin=msgspec.json.encode(said) + b"\n",
                    secrets=secrets,
                )
            except CommandFailed as error:
                raise DeployFailed("other", f"{said['operation']}: {error}") from error


def _said(target: Target) -> dict[str, Any]:
    return {
        "location": target.uri,
        "labels": dict(target.served.location.labels),
        "former_fingerprint_sha256": target.former.fingerprint_sha256.hex(),
    }
