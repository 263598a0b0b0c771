"""Certificate and key in a secret of a KV mount (version 2) of Vault or OpenBao: by a new version, written only if nobody else wrote
since it was looked at. All other keys stay. The former version is what is kept for the way back."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field

from certwatch.doors.rest import RequestFailed
from certwatch.doors.vault_kv import KV, CheckAndSetFailed, Secret
from certwatch.model.location import VaultSecret, parse_vault_secret_location
from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.former import changed_meanwhile, not_as_planned
from certwatch.remediation.deployers.path_patterns import pattern
from certwatch.remediation.deployers.refused import refused
from certwatch.remediation.deployers.vault_values import Keys, fingerprint, the_entry, values_for
from certwatch.remediation.vault_access import VaultAccess

#: Writers of other keys may come in between so often.
ATTEMPTS = 5
#: New certificates of one roll-out that are remembered: each crash may bring another.
MOST_OURS = 4


class VaultKVConfig(VaultAccess, DeployerConfig):
    #: KV mounts of version 2 whose secrets may be written.
    mounts: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=("secret",), min_length=1)
    #: Secrets that may be written; "*" within a folder, "**" over folders. Empty: all of these mounts.
    paths: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    #: Name of the collector, as it stands in locations. None: any.
    collector: str | None = Field(default=None, min_length=1)
    #: Key for the private key. None: where it was found.
    private_key: str | None = Field(default=None, min_length=1)
    #: Key for what is above the certificate. None: where it was found; else behind the certificate itself.
    chain: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A roll-out under way, as the secret's custom metadata has it: no secret, and the same for all versions."""

    #: Which had the former certificate.
    version: int
    #: SHA-256 of certificates, hex.
    former: str
    ours: tuple[str, ...]

    def with_ours(self, new: str) -> "_Begun":
        ours = self.ours if new in self.ours else (*self.ours, new)[-MOST_OURS:]
        return replace(self, ours=ours)

    def written(self) -> str:
        return " ".join((str(self.version), self.former, *self.ours))


class VaultKVDeployer:
    Config: ClassVar[type[DeployerConfig]] = VaultKVConfig

    def __init__(self, config: VaultKVConfig, context: DeployerContext) -> None:
        self._config = config
        self._paths = [pattern(each.strip("/")) for each in config.paths]
        self._keys = Keys(private_key=config.private_key, chain=config.chain)

    def takes(self, target: Target) -> bool:
        place = parse_vault_secret_location(target.uri, self._config.mounts)
        if place is None or self._config.collector not in (None, place.collector):
            return False
        return not self._paths or any(each.fullmatch(place.path) for each in self._paths)

    async def deploy(self, target: Target, material: Material) -> None:
        await asyncio.to_thread(self._deploy, target, material)

    async def present(self, target: Target) -> tuple[bytes, ...]:
        return await asyncio.to_thread(self._present, target)

    async def activate(self, targets: Sequence[Target]) -> None:
        """Who reads the secret takes up a new version by itself (Vault Agent, External Secrets)."""

    async def undo(self, target: Target) -> None:
        await asyncio.to_thread(self._undo, target)

    async def forget(self, target: Target) -> None:
        await asyncio.to_thread(self._forget, target)

    def _deploy(self, target: Target, material: Material) -> None:
        new = material.certificate.fingerprint_sha256.hex()
        with self._opened(target) as (kv, place):
            for _ in range(ATTEMPTS):
                present = _read(kv, place)
                leaf = self._leaf(present, place)
                noted = _begun(kv, place, target)
                if leaf == _former(target):
                    # Whatever an earlier roll-out could not tidy up: this version has it now.
                    begun, held = _Begun(present.version, leaf, noted.ours if noted else ()), present
                elif noted is None:
                    raise not_as_planned()
                else:
                    _check_ours(leaf, noted)
                    begun, held = noted, _read_former(kv, place, noted)
                values = values_for(held.data, place.key, self._keys, material)
                if all(present.data.get(key) == value for key, value in values.items()):
                    return  # a crash came after it was written
                _check_kept(kv, place, present, begun)
                if begun.with_ours(new) != noted:
                    # Before it is written: what a crash leaves is known for ours.
                    kv.note(place.path, {_note(place): begun.with_ours(new).written()})
                if _changed(kv, place, values, present):
                    return
            raise _busy()

    def _present(self, target: Target) -> tuple[bytes, ...]:
        with self._opened(target) as (kv, place):
            entry = the_entry(_read(kv, place).data, place.key, self._keys)
            return entry.chain if entry is not None else ()

    def _undo(self, target: Target) -> None:
        with self._opened(target) as (kv, place):
            for _ in range(ATTEMPTS):
                begun = _begun(kv, place, target)
                if begun is None:
                    return
                present = _read(kv, place)
                leaf = self._leaf(present, place)
                _check_ours(leaf, begun)
                if leaf == begun.former:
                    return
                held = _read_former(kv, place, begun)
                names = self._keys.of(held.data, place.key)
                if _changed(kv, place, {name: held.data.get(name) for name in names}, present):
                    return
            raise _busy()

    def _forget(self, target: Target) -> None:
        with self._opened(target) as (kv, place):
            try:
                if _begun(kv, place, target) is not None:
                    kv.note(place.path, {_note(place): None})
            except RequestFailed as failed:
                if failed.status != 404:
                    raise

    def _leaf(self, present: Secret, place: VaultSecret) -> str:
        """SHA-256, hex. Empty: there is no certificate."""
        entry = the_entry(present.data, place.key, self._keys)
        return fingerprint(entry.chain[0]) if entry is not None and entry.chain else ""

    @contextmanager
    def _opened(self, target: Target) -> Iterator[tuple[KV, VaultSecret]]:
        """Its refusals become DeployFailed."""
        place = parse_vault_secret_location(target.uri, self._config.mounts)
        if place is None:
            raise DeployFailed("other", "is not a secret of these KV mounts")
        try:
            with self._config.open() as vault:
                yield KV(vault, place.mount), place
        except RequestFailed as failed:
            rights = f"{place.mount}/data/{place.path} and {place.mount}/metadata/{place.path}"
            raise refused(
                failed.status,
                failed.message,
                kinds={400: "other", 405: "other"},
                advice={
                    403: f"Grant read and patch on {rights}",
                    405: "It needs KV of version 2, in Vault 1.10 or later",
                },
            ) from failed


def _former(target: Target) -> str:
    return target.former.fingerprint_sha256.hex()


def _note(place: VaultSecret) -> str:
    """One secret may have several certificates."""
    return f"certwatch_{hashlib.sha256(place.key.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _begun(kv: KV, place: VaultSecret, target: Target) -> _Begun | None:
    """None: no roll-out of this certificate, or one of another which could not tidy up."""
    version, *more = kv.notes(place.path).get(_note(place), "").split(" ")
    if not version.isdigit() or not version.isascii() or len(version) > 18:
        return None
    if not more or more[0] != _former(target):
        return None
    return _Begun(int(version), more[0], tuple(more[1:]))


def _check_ours(leaf: str, begun: _Begun) -> None:
    """Raises DeployFailed: somebody else has written to it since the roll-out began."""
    if leaf not in (begun.former, *begun.ours):
        raise changed_meanwhile()


def _read(kv: KV, place: VaultSecret) -> Secret:
    found = kv.read(place.path)
    if found is None:
        raise DeployFailed("not-found", "is not there or deleted, or its mount is no KV of version 2")
    return found


def _read_former(kv: KV, place: VaultSecret, begun: _Begun) -> Secret:
    found = kv.read(place.path, begun.version)
    if found is None:
        raise DeployFailed(
            "not-found",
            f"its version {begun.version}, which had the former certificate, is not kept any more. Raise max_versions",
        )
    return found


def _check_kept(kv: KV, place: VaultSecret, present: Secret, begun: _Begun) -> None:
    """Raises DeployFailed: with one version more there were no way back."""
    kept = kv.versions_kept(place.path)
    if present.version + 1 - begun.version >= kept:
        raise DeployFailed(
            "other",
            f"keeps {kept} versions, so that the one with the former certificate would go. Raise max_versions",
        )


def _changed(kv: KV, place: VaultSecret, values: dict[str, object], present: Secret) -> bool:
    """False: somebody else wrote meanwhile, perhaps other keys only."""
    try:
        kv.change(place.path, values, version=present.version)
    except CheckAndSetFailed:
        return False
    return True


def _busy() -> DeployFailed:
    return DeployFailed("changed", "others write to it all the time", again=True)
