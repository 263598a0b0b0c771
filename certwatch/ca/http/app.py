"""The CA's routes, put together: `public_app` for relying parties, by plain HTTP (an answer that is signed needs no TLS,
and fetching a CRL over TLS would ask for a CRL); `tls_app` for those who ask for something as well."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from certwatch.ca.failure import CAError
from certwatch.ca.http import ledger, publish, ra
from certwatch.ca.http.ocsp import OCSP
from certwatch.ca.http.reply import not_found, problem
from certwatch.ca.http.site import CASite
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)


def public_app(site: CASite) -> ASGIApp:
    return _app(site, [*_public(site), *ledger.routes(site, with_entries=False)])


def tls_app(site: CASite, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """`more`: of what a config may leave out (ACME)."""
    return _app(site, [*_public(site), *ledger.routes(site, with_entries=True), *ra.routes(site), *more])


def _public(site: CASite) -> list[BaseRoute]:
    async def healthy(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    return [Route("/-/healthy", healthy), *publish.routes(site)]


def _app(site: CASite, routes: list[BaseRoute]) -> ASGIApp:
    ocsp = OCSP(site.responder, site.service, site.clock)
    others = Starlette(
        routes=routes,
        exception_handlers={CAError: _refused, HTTPException: _http, Exception: _failed},
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Asked most of all, by far: without a router in between.
        if scope["type"] == "http" and scope["path"].startswith("/ocsp/"):
            await ocsp(scope, receive, send)
        else:
            await others(scope, receive, send)

    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, CAError)  # noqa: S101
    log.info("ca_request_refused", path=request.url.path, kind=error.kind, why=error.message)
    return problem(error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        return not_found()
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("ca_request_failed", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return problem(CAError("other", "the CA cannot do this at present"))
