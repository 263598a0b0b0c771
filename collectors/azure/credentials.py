"""Access tokens for Azure, by Microsoft's own library."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError
from azure.identity import (
    AzureAuthorityHosts,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
)

from certwatch.doors.json_api import RestError, bearer_from_file
from collectors.azure.config import AzureConfig

_AUTHORITIES = {
    "public": AzureAuthorityHosts.AZURE_PUBLIC_CLOUD,
    "china": AzureAuthorityHosts.AZURE_CHINA,
    "government": AzureAuthorityHosts.AZURE_GOVERNMENT,
}
#: A token is renewed so many seconds before its end.
_EARLY = 300


class Tokens:
    """`RestClient` credentials for one audience. Owned by the event loop's thread."""

    def __init__(self, config: AzureConfig, scope: str, shared: dict[str, Any]) -> None:
        """`shared`: the same for all audiences; it holds the credential."""
        self._config = config
        self._scope = scope
        self._shared = shared
        self._token: tuple[str, float] | None = None
        # One request for all that ask meanwhile.
        self._lock = asyncio.Lock()

    async def __call__(self, refused: bool) -> Mapping[str, str]:
        """Raises RestError."""
        if self._config.token_file is not None:
            return await asyncio.to_thread(bearer_from_file, self._config.token_file)
        async with self._lock:
            if self._token is None or refused or self._token[1] - _EARLY < time.time():
                self._token = await asyncio.to_thread(self._fetch)
            return {"Authorization": f"Bearer {self._token[0]}"}

    def _fetch(self) -> tuple[str, float]:
        try:
            credential = self._shared.get("credential")
            if credential is None:
                credential = self._shared["credential"] = self._make()
            found = credential.get_token(self._scope)
        except (AzureError, ValueError, OSError) as error:
            said = " ".join(str(error).split())[:300].rstrip(". ")
            raise RestError(
                "permission",
                f"no credentials for Azure: {said}. Give certwatch a managed or workload identity, or an app registration by "
                "tenant_id, client_id and client_secret_file",
            ) from error
        return found.token, float(found.expires_on)

    def _make(self) -> Any:
        config = self._config
        if config.client_secret is not None:
            return ClientSecretCredential(
                config.tenant_id or "",
                config.client_id or "",
                config.client_secret.get_secret_value(),
                authority=_AUTHORITIES[config.cloud],
            )
        if config.client_id is not None:
            return ManagedIdentityCredential(client_id=config.client_id)
        return DefaultAzureCredential(
            authority=_AUTHORITIES[config.cloud], exclude_interactive_browser_credential=True
        )
