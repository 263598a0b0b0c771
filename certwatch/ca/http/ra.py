"""The registration authority over HTTP: requests, approvals, revocations.

Who asks is told by a client certificate of this CA, or by a one-time enrolment token (`Authorization: Bearer …`).
Approving, refusing and revoking what is another's takes a client certificate whose requester is one of `ca: admins`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from certwatch.ca import approvals, crl, enrolment
from certwatch.ca.approvals import Waiting
from certwatch.ca.authority import Authority, chain_of
from certwatch.ca.clients import client_of
from certwatch.ca.enrolment import Enrolment
from certwatch.ca.failure import CAError
from certwatch.ca.http.reply import json_reply, not_found
from certwatch.ca.http.site import CASite
from certwatch.ca.issue import Certified
from certwatch.ca.names import checked
from certwatch.ca.rates import Buckets
from certwatch.model.instants import iso

MAX_BODY = 128 << 10
#: Of one requester, and of one address that has said nothing valid of who it is.
REQUESTS_A_SECOND, REQUESTS_AT_ONCE = 5.0, 100
STRANGERS_A_SECOND, STRANGERS_AT_ONCE = 1.0, 30
LISTED = 1000

T = TypeVar("T")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    csr: Annotated[str, msgspec.Meta(max_length=64 << 10)]
    profile: Annotated[str, msgspec.Meta(max_length=100)] = ""
    names: Annotated[list[Name], msgspec.Meta(max_length=200)] = []
    lifetime_seconds: Annotated[int, msgspec.Meta(gt=0, le=10**9)] | None = None


class Why(msgspec.Struct, forbid_unknown_fields=True):
    reason: str = "unspecified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    #: For whom requests are.
    requester: str
    is_admin: bool
    #: Of the certificate that it came with. None: it has a token.
    serial: str | None = None
    enrolment: Enrolment | None = None
    #: Its certificate's other names, or who granted its token.
    also: tuple[str, ...] = ()

    @property
    def submitter(self) -> str:
        return self.enrolment.submitter if self.enrolment is not None else self.requester


def routes(site: CASite) -> Sequence[Route]:
    return _RA(site).routes()


class _RA:
    def __init__(self, site: CASite) -> None:
        self._site, self._service = site, site.service
        self._rates = Buckets(REQUESTS_A_SECOND, REQUESTS_AT_ONCE)
        self._strangers = Buckets(STRANGERS_A_SECOND, STRANGERS_AT_ONCE)

    def routes(self) -> Sequence[Route]:
        return [
            Route("/ra/requests", self.request, methods=["POST"]),
            Route("/ra/requests", self.list, methods=["GET"]),
            Route("/ra/requests/{id:int}", self.show, methods=["GET"]),
            Route("/ra/requests/{id:int}/approve", self.approve, methods=["POST"]),
            Route("/ra/requests/{id:int}/refuse", self.refuse, methods=["POST"]),
            Route("/ra/certificates/{serial}/revoke", self.revoke, methods=["POST"]),
        ]

    async def _caller(self, request: Request) -> Caller:
        """Raises CAError."""
        try:
            caller = await self._service.beside(lambda: _who(self._service.authority, request))
        except CAError as error:
            address = request.client.host if request.client is not None else ""
            if not self._strangers.take(address):
                raise CAError("too-often", "too many requests from your address. Try again later") from error
            raise
        if not self._rates.take(caller.requester):
            raise CAError("too-often", f"too many requests of {caller.requester}. Try again later")
        return caller

    async def _admin(self, request: Request) -> Caller:
        caller = await self._caller(request)
        if not caller.is_admin:
            raise CAError("refused", f"{caller.requester} is none of this CA's admins (ca: admins)")
        return caller

    async def request(self, request: Request) -> Response:
        caller = await self._caller(request)
        wanted = _decoded(await _body(request), Wanted)
        token = caller.enrolment
        profile = wanted.profile or (token.profile if token is not None else "")
        order = await self._service.order(
            wanted.csr.encode(),
            profile,
            requester=caller.requester,
            submitter=caller.submitter,
            channel="http",
            names=tuple(wanted.names),
            lifetime=None if wanted.lifetime_seconds is None else timedelta(seconds=wanted.lifetime_seconds),
        )
        order = replace(order, behind=caller.also)
        if token is not None:
            if profile != token.profile or set(order.names) != set(checked(token.names)):
                raise CAError(
                    "refused",
                    f"the enrolment token is for profile {token.profile} and the names {', '.join(token.names)}",
                )
            await self._service.act(lambda authority: enrolment.use(authority, token))
        return _answer(await self._service.submit(order))

    async def list(self, request: Request) -> Response:
        caller = await self._caller(request)
        state = request.query_params.get("state")
        found = await self._service.act(
            lambda authority: approvals.requests(
                authority,
                state=state,
                requester=None if caller.is_admin else caller.requester,
                # Of a token: what was asked with it, not what others of its requester's name asked.
                submitter=caller.submitter if caller.enrolment is not None else None,
                most=LISTED,
            )
        )
        return json_reply({"requests": [_said(each) for each in found]})

    async def show(self, request: Request) -> Response:
        caller = await self._caller(request)
        id = request.path_params["id"]

        def read(authority: Authority) -> tuple[approvals.Request, bytes | None]:
            found = approvals.request_of(authority, id)
            rows = authority.rows(
                "SELECT serial FROM certificates WHERE request = ? AND state = 'issued'", id
            )
            return found, (rows[0][0] if rows else None)

        found, serial = await self._service.act(read)
        order = found.order
        is_theirs = (
            caller.requester == order.requester
            if caller.enrolment is None
            else caller.submitter == order.submitter
        )
        if not caller.is_admin and not is_theirs:
            return not_found()
        said = _said(found)
        if serial is not None:
            chain = await self._service.act(lambda authority: chain_of(authority, serial))
            said |= {"serial": serial.hex(), "chain": chain.decode()}
        return json_reply(said)

    async def approve(self, request: Request) -> Response:
        caller = await self._admin(request)
        id = request.path_params["id"]
        return _answer(
            await self._service.act(
                lambda authority: approvals.approve(authority, id, caller.requester, caller.also)
            )
        )

    async def refuse(self, request: Request) -> Response:
        caller = await self._admin(request)
        id = request.path_params["id"]
        await self._service.act(lambda authority: approvals.refuse(authority, id, caller.requester))
        return json_reply({"state": "refused", "request": id})

    async def revoke(self, request: Request) -> Response:
        caller = await self._caller(request)
        why = _decoded(await _body(request) or b"{}", Why)
        serial = request.path_params["serial"].lower()
        if not caller.is_admin and serial != caller.serial:
            raise CAError(
                "refused", f"{caller.requester} may revoke the certificate that it came with, no other"
            )
        await self._service.act(lambda authority: crl.revoke(authority, serial, why.reason, caller.requester))
        return json_reply({"state": "revoked", "serial": serial})


def _who(authority: Authority, request: Request) -> Caller:
    presented = request.scope.get("state", {}).get("client_certificate")
    if presented is not None:
        client = client_of(authority, presented)
        return Caller(
            requester=client.requester,
            is_admin=client.requester in authority.settings.admins,
            serial=client.serial,
            also=client.names[1:],
        )
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise CAError(
            "unauthenticated", "who asks? Come with a client certificate of this CA, or an enrolment token"
        )
    found = enrolment.read(authority, token.strip())
    return Caller(
        requester=found.requester, is_admin=False, enrolment=found, also=(found.by,) if found.by else ()
    )


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise CAError("usage", f"a request has at most {MAX_BODY} bytes")
    return body


def _decoded(body: bytes, kind: Callable[..., T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)  # type: ignore[no-any-return]
    except msgspec.MsgspecError as error:
        raise CAError("usage", f"not what can be asked here: {error}") from error


def _answer(answer: Certified | Waiting) -> Response:
    if isinstance(answer, Waiting):
        body = {"state": "waiting", "request": answer.request, "needed": answer.needed}
        return json_reply(body, 202, {"Location": f"/ra/requests/{answer.request}"})
    return json_reply(
        {
            "state": "issued",
            "request": answer.request,
            "serial": answer.serial,
            "chain": answer.chain.decode(),
            "not_after": iso(answer.certificate.not_valid_after_utc),
        },
        201,
    )


def _said(found: approvals.Request) -> dict[str, object]:
    order = found.order
    return {
        "request": found.id,
        "at": iso(found.at),
        "state": found.state,
        "profile": order.profile,
        "requester": order.requester,
        "submitter": order.submitter,
        "channel": order.channel,
        "names": order.names,
        "subject": [f"{short}={value}" for short, value in order.subject],
        "needed": found.needed,
        "approved_by": found.approved_by,
    }
