"""From the operations to routes. Reads, JSON and compression happen in a thread."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from certwatch.inventory.store import InventoryError, Reader
from certwatch.web.api.document import document
from certwatch.web.api.operations import OPERATIONS, NotThere, Operation, find
from certwatch.web.api.parameters import BadParameters, parameters_of
from certwatch.web.pages.certificates import pem_reply
from certwatch.web.reads import Reads
from certwatch.web.reply import JSON, json_bytes, problem, reply, zips
from certwatch.web.site import Site

PREFIX = "/api/v1"
_STATUS = {"gone": 410}

Answer = Callable[[Request], Awaitable[Response]]


def api_routes(site: Site, reads: Reads) -> list[BaseRoute]:
    described = json_bytes(document(site.version))
    tag = f'"{sha256(described).hexdigest()[:32]}"'

    async def openapi(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return reply(described, JSON, zip=zips(request), headers={"ETag": tag, "Cache-Control": "no-cache"})

    async def pem(request: Request) -> Response:
        prefix = request.path_params["fingerprint"]
        return await _refusing(reads.ask(lambda reader: pem_reply(find(site, reader, prefix).certificate)))

    return [
        Route(f"{PREFIX}/openapi.json", openapi, methods=["GET"]),
        Route(PREFIX + "/certificates/{fingerprint}.pem", pem, methods=["GET"]),
        *(
            Route(
                PREFIX + each.path.replace("{uri}", "{uri:path}"),
                _answering(each, site, reads),
                methods=["GET"],
            )
            for each in OPERATIONS
        ),
    ]


def _answering(operation: Operation, site: Site, reads: Reads) -> Answer:
    async def answer(request: Request) -> Response:
        zipped, path = zips(request), dict(request.path_params)
        try:
            asked = parameters_of(operation.asked, request.query_params)
        except BadParameters as error:
            return problem(400, str(error))

        def made(reader: Reader) -> Response:
            assert operation.answer is not None  # noqa: S101
            return reply(json_bytes(operation.answer(site, reader, asked, path)), JSON, zip=zipped)

        if operation.overview is None:
            return await _refusing(reads.ask(made))
        return await _refusing(_overview(operation, site, reads, zipped))

    return answer


async def _overview(operation: Operation, site: Site, reads: Reads, zipped: bool) -> Response:
    assert operation.overview is not None  # noqa: S101
    value = operation.overview(site, await reads.status())
    return await asyncio.to_thread(lambda: reply(json_bytes(value), JSON, zip=zipped))


async def _refusing(answer: Awaitable[Response]) -> Response:
    """RFC 9457 in place of errors."""
    try:
        return await answer
    except BadParameters as error:
        return problem(400, str(error))
    except NotThere as error:
        return problem(404, str(error))
    except InventoryError as error:
        return problem(_STATUS.get(error.kind, 503), error.message)
