"""Access tokens for Google Cloud, by Google's own library."""

import asyncio
from collections.abc import Mapping
from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.transport
import httpx
from google.oauth2 import service_account

from certwatch.doors.json_api import RestError, bearer_from_file
from collectors.gcp.config import GCPConfig

#: IAM decides what may be done; there is no narrower one that all three services take.
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


class _Response(google.auth.transport.Response):
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def data(self) -> bytes:
        return self._response.content


class _Request(google.auth.transport.Request):
    """What google-auth asks through: httpx is there already."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Response:
        try:
            return _Response(
                self._http.request(method, url, content=body, headers=headers, timeout=timeout or 30)
            )
        except httpx.HTTPError as error:
            raise google.auth.exceptions.TransportError(error) from error  # type: ignore[no-untyped-call]


class Tokens:
    """`RestClient` credentials. Owned by the event loop's thread."""

    def __init__(self, config: GCPConfig) -> None:
        self._config = config
        self._credentials: Any = None
        # One refresh for all that ask meanwhile.
        self._lock = asyncio.Lock()

    async def __call__(self, refused: bool) -> Mapping[str, str]:
        """Raises RestError."""
        if self._config.token_file is not None:
            return await asyncio.to_thread(bearer_from_file, self._config.token_file)
        async with self._lock:
            credentials = self._credentials
            if credentials is None or refused or not credentials.valid:
                await asyncio.to_thread(self._refresh)
            return {"Authorization": f"Bearer {self._credentials.token}"}

    def _refresh(self) -> None:
        try:
            if self._credentials is None:
                self._credentials = self._load()
            with httpx.Client() as http:
                self._credentials.refresh(_Request(http))
        except (google.auth.exceptions.GoogleAuthError, ValueError, OSError) as error:
            said = " ".join(str(error).split())[:300]
            raise RestError(
                "permission",
                f"no credentials for Google Cloud: {said}. Give certwatch a service account (workload identity, "
                "metadata server), `credentials_file`, or GOOGLE_APPLICATION_CREDENTIALS",
            ) from error

    def _load(self) -> Any:
        path = self._config.credentials_file
        if path is not None:
            return service_account.Credentials.from_service_account_file(path, scopes=SCOPES)  # type: ignore[no-untyped-call]
        return google.auth.default(scopes=SCOPES)[0]
