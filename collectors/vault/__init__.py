"""HashiCorp Vault and OpenBao: the PKI mounts of a namespace, with their issuers, their set-up and what they issued; and
certificates in secrets of KV mounts."""

from collections.abc import AsyncIterator, Generator, Iterator
from typing import ClassVar

from certwatch.doors.rest import RequestFailed, client_tls
from certwatch.doors.vault import AppRole, Vault
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from collectors.ca_database.batches import in_batches
from collectors.ca_database.record import ReadFailed
from collectors.ca_database.rest.fetching import AT_ONCE
from collectors.vault.config import KVMount, VaultConfig
from collectors.vault.kv import KVLook
from collectors.vault.mount import Mount, issued_scope, setup_scope

__all__ = ["VaultCollector", "VaultConfig"]

Said = Observation | Incomplete


class VaultCollector:
    """Locations: `vault://NAME/MOUNT` is a mount, `vault://NAME/MOUNT/issuer/ID` an issuer, `cadb://NAME/SERIAL?ca=MOUNT` a
    certificate that it issued; `vault://NAME/MOUNT/secret/PATH?key=KEY` one in a KV secret."""

    Config: ClassVar[type[CollectorConfig]] = VaultConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, VaultConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not VaultConfig")
        self._name = name
        self._config = config
        self._context = context
        #: By mount. Owned by the thread that looks.
        self._ended: dict[str, set[str]] = {}

    def collect(self) -> AsyncIterator[Said]:
        return in_batches(self._name, self._looks(), self._context.progress)

    def _looks(self) -> Generator[Said, None, None]:
        """In a thread. Raises ReadFailed if nothing can be read at all."""
        config = self._config
        try:
            vault = self._open()
        except RequestFailed as failed:
            raise ReadFailed(failed.kind, failed.message) from failed
        with vault:
            for wanted in config.kv:
                yield from self._kv(vault, wanted)
            if config.mounts == ():
                return
            paths: list[str] | tuple[str, ...]
            try:
                paths = config.mounts if config.mounts is not None else vault.pki_mounts()
            except RequestFailed as failed:
                what = (
                    ". Allow it read on sys/mounts (deploy/vault/policy.hcl), or name the mounts"
                    if failed.status == 403
                    else ""
                )
                raise ReadFailed(failed.kind, f"{failed.message}{what}") from failed
            if not paths:
                # So another namespace looks as well; all that there was would be taken for gone.
                raise ReadFailed(
                    "not-found", f"{vault.where}: has no PKI mount. See `namespace`, or name the mounts"
                )
            left_out = {each.strip("/") for each in config.exclude_mounts}
            for path in dict.fromkeys(each.strip("/") for each in paths):
                if path not in left_out:
                    yield from self._mount(vault, path)

    def _kv(self, vault: Vault, wanted: KVMount) -> Iterator[Said]:
        return KVLook(
            vault=vault,
            wanted=wanted,
            collector=self._name,
            labels=self._labels(wanted.mount.strip("/")),
            clock=self._context.clock,
        ).looks()

    def _labels(self, mount: str) -> dict[str, str]:
        namespace = self._config.namespace
        return {"mount": mount, **({"namespace": namespace} if namespace else {})}

    def _mount(self, vault: Vault, path: str) -> Generator[Said, None, None]:
        mount = Mount(
            vault=vault,
            path=path,
            collector=self._name,
            labels=self._labels(path),
            clock=self._context.clock,
            view=self._context.view,
            expired=self._config.expired,
            ended=self._ended.setdefault(path, set()),
        )
        try:
            yield from mount.setup()
        except RequestFailed as failed:
            error = LookError(kind=failed.kind, message=mount.told(failed))
            yield Incomplete(scope=setup_scope(path), error=error)
        if not self._config.issued:
            return
        try:
            yield from mount.issued()
        except RequestFailed as failed:
            error = LookError(kind=failed.kind, message=mount.told(failed))
            yield Incomplete(scope=issued_scope(path), error=error)

    def _open(self) -> Vault:
        """Raises RequestFailed."""
        config = self._config
        credentials: str | AppRole | None = None
        if config.token is not None:
            credentials = config.token.get_secret_value()
        elif config.role_id is not None and config.secret_id is not None:
            credentials = AppRole(
                role_id=config.role_id,
                secret_id=config.secret_id.get_secret_value(),
                mount=config.auth_mount,
            )
        return Vault(
            config.url,
            credentials=credentials,
            namespace=config.namespace,
            tls=client_tls(config.trust, config.client_certificate, config.client_key),
            timeout=config.timeout.total_seconds(),
            connections=AT_ONCE,
        )
