"""`/locations/{uri}`."""

from starlette.requests import Request
from starlette.responses import Response

from certwatch.inventory.store import FindingQuery, Reader
from certwatch.model.location import LocationURI
from certwatch.model.observation import FACTS
from certwatch.web.pages.page import Missing, Pages

SHOWN_HISTORY = 200
SHOWN_FINDINGS = 200


class Locations:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def one(self, request: Request) -> Response:
        uri = LocationURI(request.path_params["uri"])

        def ask(reader: Reader) -> tuple[str, dict[str, object], int]:
            served = reader.served(uri)
            if served is None:
                raise Missing("No such location", f"{uri[:500]} was never seen, or has been forgotten since.")
            findings = reader.findings(FindingQuery(location=uri, all=True, limit=SHOWN_FINDINGS))
            return (
                "location.html",
                {
                    "served": served,
                    "history": reader.history(uri),
                    # Open ones first.
                    "findings": sorted(findings, key=lambda each: each.resolved_at is not None),
                    "meaning": FACTS,
                    "shown_history": SHOWN_HISTORY,
                },
                200,
            )

        return await self._pages.show(request, ask)
