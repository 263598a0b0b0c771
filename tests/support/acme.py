"""An ACME client of tests, which can also do what no client should; and names that this machine answers for."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

from certwatch.ca.acme.server import AcmeServer
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.ca.authority import Authority
from certwatch.ca.key_file import generate
from certwatch.ca.new_request import make_csr
from certwatch.ca.service import Service

BASE = "http://ca.example/acme"


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return cast("dict[str, str]", jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True))


def thumbprint(key: ec.EllipticCurvePrivateKey) -> bytes:
    said = {each: jwk(key)[each] for each in ("crv", "kty", "x", "y")}
    return hashlib.sha256(json.dumps(said, separators=(",", ":"), sort_keys=True).encode()).digest()


def envelope(key: Any, header: dict[str, Any], payload: bytes, algorithm: str = "ES256") -> dict[str, str]:
    header = {**header, "alg": header.get("alg", algorithm)}
    compact = jwt.PyJWS().encode(payload, key, algorithm=algorithm, headers={"typ": None, **header})
    protected, middle, signature = compact.split(".")
    return {"protected": protected, "payload": middle, "signature": signature}


@dataclass
class Client:
    http: httpx.AsyncClient
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    kid: str | None = None
    base: str = BASE

    async def nonce(self) -> str:
        return (await self.http.head(f"{self.base}/nonce")).headers["replay-nonce"]

    async def post(
        self, url: str, payload: Any = None, *, by_key: Any = None, header: dict[str, Any] | None = None
    ) -> httpx.Response:
        """`payload` None: POST-as-GET. `by_key`: signed with that key, which is sent along."""
        url = url if url.startswith("http") else self.base + url
        said: dict[str, Any] = {"url": url, "nonce": await self.nonce()}
        key = by_key or self.key
        if by_key is not None or self.kid is None:
            said["jwk"] = jwk(key)
        else:
            said["kid"] = self.kid
        said.update(header or {})
        body = b"" if payload is None else json.dumps(payload).encode()
        return await self.send(url, envelope(key, said, body))

    async def send(self, url: str, body: Any) -> httpx.Response:
        return await self.http.post(
            url, content=json.dumps(body), headers={"Content-Type": "application/jose+json"}
        )

    async def register(self, **payload: Any) -> httpx.Response:
        answer = await self.post("/new-account", {"contact": ["mailto:ops@example.com"], **payload})
        if answer.is_success:
            self.kid = answer.headers["location"]
        return answer

    async def order(self, *names: str, **more: Any) -> httpx.Response:
        """Names like "dns:www.example.com"."""
        wanted = [dict(zip(("type", "value"), each.split(":", 1), strict=True)) for each in names]
        return await self.post("/new-order", {"identifiers": wanted, **more})

    async def until(self, url: str, *over: str) -> dict[str, Any]:
        """Ask until its status is one of `over`."""
        with anyio.fail_after(15):
            while True:
                said = (await self.post(url)).json()
                if said["status"] in over:
                    return cast("dict[str, Any]", said)
                await anyio.sleep(0.01)

    async def prove(self, order: dict[str, Any], method: str = "http-01") -> list[dict[str, Any]]:
        """Say of every authorization that it is ready; what became of each."""
        found = []
        for url in order["authorizations"]:
            said = (await self.post(url)).json()
            [challenge] = [each for each in said["challenges"] if each["type"] == method]
            await self.post(challenge["url"], {})
            found.append(await self.until(url, "valid", "invalid"))
        return found

    async def certificate(
        self, order: httpx.Response, *names: str, csr: str | None = None, key: Any = None
    ) -> httpx.Response:
        """Finalize with a CSR for `names`."""
        return await self.post(
            order.json()["finalize"], {"csr": csr or csr_text(key or generate("ec-p256"), names)}
        )


def csr_text(key: Any, names: Sequence[str], subject: str | None = None) -> str:
    from cryptography import x509

    made = x509.load_pem_x509_csr(make_csr(key, list(names), subject).encode())
    return text(made.public_bytes(serialization.Encoding.DER))


@asynccontextmanager
async def acme(ca: Authority, **settings: Any) -> AsyncIterator[Client]:
    """A server in this process, and a client of it that has no account yet."""
    settings.setdefault("retry_seconds", ())
    service = Service(ca)
    server = AcmeServer(service, AcmeSettings(url=BASE, **settings))
    app = Starlette(routes=server.routes())
    try:
        async with (
            server.running(),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ca.example") as http,
        ):
            yield Client(http)
    finally:
        await service.close()
