"""An ASGI application asked in this process, without a port."""

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send


class Client:
    def __init__(self, app: ASGIApp, *, client_certificate: bytes | None = None) -> None:
        self._app = app
        #: DER, as the server would hand it over.
        self.client_certificate = client_certificate

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = (
            {} if self.client_certificate is None else {"client_certificate": self.client_certificate}
        )
        await self._app(scope, receive, send)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._answer)
            async with httpx.AsyncClient(transport=transport, base_url="https://ca.test") as client:
                return await client.request(method, path, **more)

        return asyncio.run(asked())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("POST", path, **more)
