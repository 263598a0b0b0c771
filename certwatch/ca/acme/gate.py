"""The gate of the ACME server: envelopes believed or not, nonces, how often, and what every answer carries (RFC 8555, 6)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from certwatch.ca.acme import accounts, jws
from certwatch.ca.acme.accounts import Account
from certwatch.ca.acme.answers import problem_reply
from certwatch.ca.acme.nonces import Nonces
from certwatch.ca.acme.problem import Problem, of_ca
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.ca.failure import CAError
from certwatch.ca.rates import Buckets
from certwatch.ca.service import Service
from certwatch.model.shown import shown
from certwatch.telemetry.logs import get_logger

#: Where the server stands on the CA's listener.
PREFIX = "/acme"
#: Requests by a key that has no account yet, from one address: each of them may become a row and an entry.
STRANGERS_A_SECOND, STRANGERS_AT_ONCE = 1.0, 200

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request whose envelope was believed."""

    base: str
    envelope: jws.Envelope
    #: None: it came with a key instead (new accounts, revocations).
    account: Account | None
    path: Mapping[str, Any]

    @property
    def known(self) -> Account:
        if self.account is None:
            raise Problem("malformed", "this is asked with the account's kid, not with a jwk")
        return self.account

    def payload(self) -> dict[str, Any]:
        return self.envelope.object()

    @property
    def is_read(self) -> bool:
        """POST-as-GET."""
        return self.envelope.payload is None

    def must_be_read(self) -> None:
        if not self.is_read:
            raise Problem(
                "malformed", "this resource is only read: by POST with an empty payload (RFC 8555, 6.3)"
            )


Handler = Callable[[Asked], Awaitable[Response]]


class Gate:
    """Owned by the event loop's thread."""

    def __init__(self, service: Service, settings: AcmeSettings) -> None:
        self._service, self._settings = service, settings
        self._nonces = Nonces()
        self._strangers = Buckets(STRANGERS_A_SECOND, STRANGERS_AT_ONCE)

    def nonce(self) -> str:
        return self._nonces.make()

    def base(self, request: Request) -> str:
        if self._settings.url is not None:
            return self._settings.url
        return f"{request.url.scheme}://{request.url.netloc}{PREFIX}"

    def posted(self, handler: Handler, *, by_key: bool) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            base = self.base(request)
            try:
                response = await handler(await self._believe(request, base, by_key=by_key))
            except Problem as problem:
                response = problem_reply(problem)
            except CAError as error:
                log.error(
                    "acme_failed",
                    extra={"path": request.url.path, "kind": error.kind, "error": error.message},
                )
                response = problem_reply(of_ca(error, "malformed"))
            response.headers["Replay-Nonce"] = self._nonces.make()
            response.headers["Cache-Control"] = "no-store"
            response.headers.append("Link", f'<{base}/directory>;rel="index"')
            return response

        return answer

    async def _believe(self, request: Request, base: str, *, by_key: bool) -> Asked:
        """Raises Problem."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/jose+json":
            raise Problem("malformed", "the content type is not application/jose+json", status=415)
        envelope = jws.parse(await _body(request))
        path = request.url.path.removeprefix(PREFIX)
        if envelope.url != base + path:
            raise Problem(
                "unauthorized",
                f"the request was signed for {shown(envelope.url)[:200]}, not for {base + path}",
            )
        account: Account | None = None
        if envelope.key is not None:
            if not by_key:
                raise Problem("malformed", "this is asked with the account's kid, not with a jwk")
            if not self._strangers.take(request.client.host if request.client is not None else ""):
                raise Problem(
                    "rateLimited",
                    "too many requests of unknown keys from your address. Try again later",
                    headers={"Retry-After": "60"},
                )
            envelope.verified(envelope.key.public)
        else:
            account = await self._account_of(envelope.kid or "", base)
            envelope.verified(account.key.public)
        if not self._nonces.take(envelope.nonce):
            raise Problem(
                "badNonce", "the nonce is not one of ours, or was used. Try again with the one given here"
            )
        if account is not None and account.status != "valid":
            raise Problem("unauthorized", f"the account is {account.status}")
        return Asked(base=base, envelope=envelope, account=account, path=request.path_params)

    async def _account_of(self, kid: str, base: str) -> Account:
        number = kid.removeprefix(f"{base}/account/")
        # Of more digits none was ever made, and the database takes no more.
        if number != kid and number.isascii() and number.isdecimal() and len(number) <= 15:
            account = await self._service.act(lambda authority: accounts.by_id(authority, int(number)))
            if account is not None:
                return account
        raise Problem("accountDoesNotExist", f"there is no account {shown(kid)[:200]}")


async def _body(request: Request) -> bytes:
    """Raises Problem."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > jws.MAX_BODY:
            raise Problem("malformed", f"the request is larger than {jws.MAX_BODY} bytes", status=413)
    return body
