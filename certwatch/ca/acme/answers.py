"""What the server's resources look like (RFC 8555, 7.1), and problems (RFC 7807)."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from certwatch.ca.acme import challenges
from certwatch.ca.acme.accounts import Account
from certwatch.ca.acme.orders import AcmeOrder, Authorization
from certwatch.ca.acme.problem import Problem
from certwatch.ca.authority import instant
from certwatch.model.instants import iso

_encode = msgspec.json.encode


def json_reply(said: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        _encode(said), status_code=status, media_type="application/json", headers=dict(headers or {})
    )


def problem_reply(problem: Problem) -> Response:
    return Response(
        _encode(problem.document()),
        status_code=problem.status,
        media_type="application/problem+json",
        headers=problem.headers,
    )


def account_reply(account: Account, base: str, *, status: int) -> Response:
    url = f"{base}/account/{account.id}"
    said = {"status": account.status, "contact": list(account.contacts), "orders": f"{url}/orders"}
    return json_reply(said, status=status, headers={"Location": url})


def shown_types(part: Authorization) -> tuple[str, ...]:
    """Once a challenge decided, it alone is shown (RFC 8555, 7.1.4)."""
    if part.status in ("valid", "invalid") and part.tried is not None:
        return (part.tried,)
    return challenges.types(part.identifier)


def challenge(part: Authorization, type: str, base: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": type,
        "url": f"{base}/challenge/{part.id}/{type}",
        "token": part.token,
        "status": "pending",
    }
    if part.tried == type:
        if part.status in ("processing", "valid", "invalid"):
            said["status"] = part.status
        if part.status == "valid" and part.at is not None:
            said["validated"] = iso(instant(part.at))
        if part.error is not None:
            said["error"] = part.error
    return said


def order_reply(order: AcmeOrder, base: str, *, status: int) -> Response:
    said: dict[str, Any] = {
        "status": order.status,
        "expires": iso(instant(order.expires)),
        "identifiers": [{"type": each.kind, "value": each.value} for each in order.identifiers],
        "profile": order.profile,
        "authorizations": [f"{base}/authorization/{each.id}" for each in order.authorizations],
        "finalize": f"{base}/order/{order.id}/finalize",
    }
    if order.error is not None:
        said["error"] = order.error
    if order.serial is not None:
        said["certificate"] = f"{base}/certificate/{order.serial.hex()}"
    headers = {"Location": f"{base}/order/{order.id}"}
    if order.status == "processing":
        headers["Retry-After"] = "5"
    return json_reply(said, status=status, headers=headers)
