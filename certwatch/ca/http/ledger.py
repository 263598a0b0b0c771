"""The ledger over HTTP, as tiles (C2SP tlog-tiles), so that an outside witness or monitor can prove that nothing was
removed. Checkpoints and hashes are for everybody; entries say who asked for what, and are for `ca: admins` and
`ca: auditors`."""

import sqlite3
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from certwatch.ca import tiles
from certwatch.ca.clients import client_of
from certwatch.ca.failure import CAError
from certwatch.ca.http.reply import not_found
from certwatch.ca.http.site import CASite

#: A tile never changes (C2SP tlog-tiles).
FOR_EVER = "public, max-age=31536000, immutable"


def routes(site: CASite, *, with_entries: bool) -> Sequence[Route]:
    service = site.service

    async def checkpoint(request: Request) -> Response:
        note = await service.read(tiles.latest_checkpoint)
        if note is None:
            return not_found()
        return PlainTextResponse(note, headers={"Cache-Control": "no-cache"})

    async def key(request: Request) -> Response:
        """What a witness is given once, and keeps."""
        return PlainTextResponse(f"{service.authority.ledger.verifier_key}\n")

    async def hashes(request: Request) -> Response:
        level = request.path_params["level"]
        at = tiles.split(request.path_params["at"])
        if at is None or level > tiles.MOST_LEVEL:
            return not_found()
        return await sent(lambda connection: tiles.hashes(connection, level, *at), FOR_EVER)

    async def entries(request: Request) -> Response:
        at = tiles.split(request.path_params["at"])
        await allowed(request)
        if at is None:
            return not_found()
        return await sent(
            lambda connection: tiles.entries(connection, *at), "private, max-age=31536000, immutable"
        )

    async def allowed(request: Request) -> None:
        presented = request.scope.get("state", {}).get("client_certificate")
        if presented is None:
            raise CAError("unauthenticated", "entries are read with a client certificate of this CA")
        client = await service.beside(lambda: client_of(service.authority, presented))
        settings = site.settings
        if client.requester not in (*settings.admins, *settings.auditors):
            raise CAError(
                "refused", f"{client.requester} is none of this CA's auditors (ca: auditors) or admins"
            )

    async def sent(read: Callable[[sqlite3.Connection], bytes | None], kept: str) -> Response:
        body = await service.read(read)
        if body is None:
            return not_found()
        return Response(body, headers={"Cache-Control": kept}, media_type="application/octet-stream")

    found = [
        Route("/log/checkpoint", checkpoint, methods=["GET"]),
        Route("/log/key", key, methods=["GET"]),
        Route("/log/tile/{level:int}/{at:path}", hashes, methods=["GET"]),
    ]
    if with_entries:
        found.append(Route("/log/tile/entries/{at:path}", entries, methods=["GET"]))
    return found
