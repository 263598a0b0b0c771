"""What a deployer promises: it puts a certificate where it is served from, and can put back what was there.
Called by remediation alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from certwatch.model.certificate import Certificate
from certwatch.model.clock import Clock
from certwatch.model.sighting import Served

DeployErrorKind = Literal["permission", "not-found", "changed", "reload", "unavailable", "timeout", "other"]


class DeployerConfig(BaseModel):
    """Base of every deployer's `Config`: its own keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DeployFailed(Exception):
    """A place is as it was, or can be brought back there by `undo`. "changed": somebody else changed it meanwhile."""

    def __init__(self, kind: DeployErrorKind, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.again = again


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A new certificate with its key. In memory only: never stored, logged or shown."""

    #: PKCS#8, not encrypted. Empty: it was made where it will live (`MakesKeys`), and is there.
    key_pem: bytes = field(repr=False)
    #: Leaf first, with what is above it but the root.
    chain_pem: bytes
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A place, and what it is to lose."""

    served: Served
    former: Certificate

    @property
    def uri(self) -> str:
        return self.served.location.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployerContext:
    clock: Clock


class Deployer(Protocol):
    Config: ClassVar[type[DeployerConfig]]

    def __init__(self, config: DeployerConfig, context: DeployerContext) -> None:
        """Cheap, without I/O."""

    def takes(self, target: Target) -> bool:
        """It can put a certificate there, as far as its settings and the place's name tell. Pure."""
        ...

    async def deploy(self, target: Target, material: Material) -> None:
        """Atomic: who reads the place sees the former pair or the new one. The first call for a target keeps what was there
        where `undo` finds it, also after a crash; a further call (after a crash, with newer material) keeps that.
        Raises DeployFailed."""
        ...

    async def activate(self, targets: Sequence[Target]) -> None:
        """Have what was put there taken up (a reload), after `deploy` or `undo`. Raises DeployFailed."""
        ...

    async def present(self, target: Target) -> tuple[bytes, ...]:
        """What lies there now, read anew: DER, leaf first. Empty: no certificate. Raises DeployFailed."""
        ...

    async def undo(self, target: Target) -> None:
        """As it was before the first `deploy`; nothing happens where there was none. Raises DeployFailed."""
        ...

    async def forget(self, target: Target) -> None:
        """Drop what is kept for `undo`. May be called twice. Raises DeployFailed."""
        ...


@runtime_checkable
class MakesKeys(Protocol):
    """A deployer for places that make their own keys: these never travel."""

    @property
    def makes_keys(self) -> bool:
        """By its settings. Pure."""
        ...

    async def csr(self, target: Target, names: Sequence[str], key_type: str) -> bytes:
        """PEM, for a key that was made there and is not used yet. `names` as the model writes them; `key_type` as policies do
        ("ec-p256"). Called again after a crash: it may give the same key. `deploy` follows, without a key. Raises DeployFailed."""
        ...


@runtime_checkable
class Renews(Protocol):
    """A deployer for places whose keeper has certificates issued by itself: it is told to, nothing is issued here."""

    async def renew(self, target: Target, within: timedelta) -> tuple[bytes, ...]:
        """What lies there afterwards, another certificate than the former one: DER, leaf first. May be called again after a
        crash. Raises DeployFailed."""
        ...
