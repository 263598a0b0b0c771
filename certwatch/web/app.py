"""What certwatch answers over HTTP, beside what exporters answer. Nothing here reads the inventory on the event loop."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from certwatch.web.access import HostCheck, TimeLimit, may_reload
from certwatch.web.api.routes import api_routes
from certwatch.web.pages.certificates import Certificates
from certwatch.web.pages.findings import Findings
from certwatch.web.pages.locations import Locations
from certwatch.web.pages.overview import Overview
from certwatch.web.pages.page import Pages
from certwatch.web.reads import Reads
from certwatch.web.render import STATIC, STATIC_VERSION
from certwatch.web.reply import problem, reply, zips
from certwatch.web.site import Site

MAX_BODY_BYTES = 64 * 1024


def make_app(site: Site, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """`routes`: those of the exporters; what ours answer is not theirs to answer."""
    reads = Reads(site)
    process = _Process(site)
    ours: list[BaseRoute] = [
        Route("/-/healthy", process.healthy, methods=["GET"]),
        Route("/-/ready", process.ready, methods=["GET"]),
        Route("/-/reload", process.reload, methods=["POST"]),
        *_page_routes(Pages(site, reads)),
        *api_routes(site, reads),
    ]
    # Programs ask for these, often: they are found without a look at all of ours.
    first = [each for each in routes if _is_theirs(each, ours)]
    app = Starlette(
        routes=[*first, *ours, *(each for each in routes if each not in first)],
        middleware=[Middleware(TimeLimit), Middleware(HostCheck, names=site.host_names)],
        exception_handlers={404: _not_found, 405: _wrong_method},
        max_body_size=MAX_BODY_BYTES,
    )
    # An address is right or it is not; a redirect would send people to whatever host the request claims.
    app.router.redirect_slashes = False
    return app


def _is_theirs(route: BaseRoute, ours: Sequence[BaseRoute]) -> bool:
    """It answers one path, which none of ours answers."""
    path = getattr(route, "path", "")
    if not path or "{" in path:
        return False
    scope: Scope = {"type": "http", "path": path, "root_path": "", "method": "GET", "headers": []}
    return all(each.matches(scope)[0] is Match.NONE for each in ours)


def _page_routes(pages: Pages) -> list[Route]:
    overview, certificates = Overview(pages), Certificates(pages)
    locations, findings = Locations(pages), Findings(pages)
    return [
        Route(path, answer, methods=["GET"])
        for path, answer in (
            ("/", overview.overview),
            ("/certificates", certificates.list),
            ("/certificates/{fingerprint}.pem", certificates.pem),
            ("/certificates/{fingerprint}", certificates.one),
            ("/locations/{uri:path}", locations.one),
            ("/findings", findings.list),
            ("/findings/{id}", findings.one),
            ("/rules", findings.rules),
            ("/rules/{id}", findings.rule),
            ("/collectors", overview.collectors),
            ("/static/{name}", _static),
        )
    ]


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return await _not_found(request, LookupError(name))
    body, media_type = STATIC[name]
    # Pages name the present version: another one may have changed by the next look.
    current = request.query_params.get("v") == STATIC_VERSION
    kept = "public, max-age=31536000, immutable" if current else "no-cache"
    return reply(body, media_type, zip=zips(request), headers={"Cache-Control": kept})


class _Process:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def healthy(self, request: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(self, request: Request) -> Response:
        reasons = self._site.not_ready()
        if reasons:
            return PlainTextResponse("not ready\n" + "".join(f"{each}\n" for each in reasons), 503)
        return PlainTextResponse("ready, stands by\n" if self._site.stands_by else "ready\n")

    async def reload(self, request: Request) -> Response:
        refusal = may_reload(request)
        if refusal is not None:
            return PlainTextResponse(refusal + "\n", 403)
        wrong = await self._site.reload()
        if wrong:
            return PlainTextResponse(
                "The config was refused; the one before goes on.\n" + "".join(f"{each}\n" for each in wrong),
                400,
            )
        return PlainTextResponse("reloaded\n")


async def _not_found(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return problem(404, f"there is nothing at {request.url.path[:500]}. See /api/v1/openapi.json")
    return PlainTextResponse(f"There is nothing at {request.url.path[:500]}. See /\n", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    allowed = headers.get("Allow", "")
    said = f"{request.method} is not answered at {request.url.path[:500]}. Use {allowed or 'another method'}"
    if request.url.path.startswith("/api/"):
        return problem(405, said, headers=headers)
    return PlainTextResponse(said + "\n", 405, headers=headers)
