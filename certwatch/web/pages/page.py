"""What every page goes through: from a request to HTML, read and rendered in a thread."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from certwatch.inventory.store import InventoryError, Reader
from certwatch.web.reads import Reads
from certwatch.web.render import render
from certwatch.web.reply import HTML, reply, zips
from certwatch.web.site import Site

#: By the kind of an inventory's error that is the asker's to mend; others are ours: 503.
ASKED_TOO_MUCH = {"gone": 410, "too-long": 503}


class Missing(Exception):
    """There is no such thing. Shown as a page with 404."""

    def __init__(self, title: str, detail: str, *, status: int = 404, choices: Any = ()) -> None:
        super().__init__(title)
        self.title = title
        self.detail = detail
        self.status = status
        self.choices = choices


class Pages:
    """Owned by the event loop's thread; `shown` is called in others."""

    def __init__(self, site: Site, reads: Reads) -> None:
        self.site = site
        self.reads = reads

    def frame(self, request: Request) -> dict[str, object]:
        """What the layout needs."""
        path = request.url.path
        first = "/" + path.lstrip("/").partition("/")[0]
        return {
            "here": path,
            "section": {"/locations": "/certificates"}.get(first, first),
            "version": self.site.version,
            "now": self.site.clock(),
        }

    async def show(
        self, request: Request, ask: Callable[[Reader], tuple[str, dict[str, object], int]]
    ) -> Response:
        """`ask` gives the template, its values and the status; it may raise Missing and InventoryError."""
        frame, zipped = self.frame(request), zips(request)

        def answer(reader: Reader) -> Response:
            try:
                template, values, status = ask(reader)
            except Missing as error:
                template, status = "missing.html", error.status
                values = {"title": error.title, "detail": error.detail, "choices": error.choices}
            return reply(render(template, **frame, **values), HTML, status, zip=zipped)

        try:
            return await self.reads.ask(answer)
        except InventoryError as error:
            return self.failed(request, error)

    def failed(self, request: Request, error: InventoryError) -> Response:
        values = {"title": "It cannot be read", "detail": error.message, "choices": ()}
        return reply(
            render("missing.html", **self.frame(request), **values), HTML, ASKED_TOO_MUCH.get(error.kind, 503)
        )
