"""The rules' pages, answered where alerts link to: what `certwatch rules explain` prints."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from certwatch.plugins import registry
from certwatch.plugins.rule import explain

_HEADERS = {"X-Content-Type-Options": "nosniff"}


async def runbook(request: Request) -> Response:
    """A rule of the config's own has no page: its alert says all that is known."""
    id = request.path_params["rule"]
    try:
        # By name only, and only what is there: rules that judge are loaded already.
        text = explain(registry.load("rules", id)) if id in registry.names("rules") else None
    except registry.PluginError:
        text = None
    if text is None:
        return PlainTextResponse("There is no such rule here. See: certwatch rules\n", 404, headers=_HEADERS)
    return PlainTextResponse(text, headers=_HEADERS)
