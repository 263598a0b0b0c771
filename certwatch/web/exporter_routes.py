"""Exporters' routes on our port, each call guarded as every call of a plug-in is."""

from collections.abc import Iterable
from typing import Any

from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from certwatch.plugins.guard import PluginFailed, guard


class GuardedRoute(BaseRoute):
    """Answers as the exporter's route does; if that raises, 500, logged and counted."""

    def __init__(self, kind: str, route: BaseRoute) -> None:
        self._kind = kind
        self._route = route
        #: As it is written. Empty: it has none.
        self.path: str = getattr(route, "path", "")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        return self._route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        refused: HTTPException | None = None
        try:
            with guard("exporters", self._kind):
                try:
                    await self._route.handle(scope, receive, sending)
                except HTTPException as error:
                    refused = error  # its own word, not a failure
        except PluginFailed as error:
            if begun:
                raise  # half an answer: the connection is closed
            await PlainTextResponse(f"{error}. See the log\n", 500)(scope, receive, send)
        if refused is not None:
            raise refused


def guarded(routes: Iterable[tuple[str, Any]]) -> list[BaseRoute]:
    """From (kind, route); what is no route is left out, counted."""
    result: list[BaseRoute] = []
    for kind, route in routes:
        try:
            with guard("exporters", kind):
                if not isinstance(route, BaseRoute):
                    raise TypeError(f"routes() gave {type(route).__name__}, not a starlette route")
        except PluginFailed:
            continue
        result.append(GuardedRoute(kind, route))
    return result
