"""Answers of the CA's HTTP."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from certwatch.ca.failure import CAError, CAErrorKind

#: Statuses of what the CA refuses; what is not here is a fault on our side: 503, try again.
_STATUSES: Mapping[CAErrorKind, int] = {
    "unauthenticated": 401,
    "refused": 403,
    "lint": 403,
    "usage": 400,
    "not-found": 404,
    "waiting": 409,
    "busy": 503,
    "too-often": 429,
    "other": 500,
}


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(value),
        status,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
        media_type="application/json",
    )


def status_of(error: CAError) -> int:
    return _STATUSES.get(error.kind, 503)


def problem(error: CAError) -> Response:
    """RFC 9457. What is wrong with the CA itself stays in its log."""
    status = status_of(error)
    said = error.message if status < 500 or error.kind == "busy" else "the CA cannot do this at present"
    body = {"type": "about:blank", "title": error.kind, "status": status, "detail": said}
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = "30"
    return Response(msgspec.json.encode(body), status, headers)


def not_found() -> Response:
    return problem(CAError("not-found", "there is nothing here"))


def published(
    request: Request,
    body: bytes,
    *,
    media_type: str,
    etag: str,
    modified: datetime,
    until: datetime,
    now: datetime,
    longest: timedelta,
) -> Response:
    """Something that everybody may fetch and keep: until it ends, and never longer than `longest`."""
    kept = max(timedelta(0), min(until - now, longest))
    headers = {
        "Cache-Control": f"public, no-transform, must-revalidate, max-age={int(kept.total_seconds())}",
        "ETag": etag,
        "Last-Modified": format_datetime(modified, usegmt=True),
        "Expires": format_datetime((now + kept).replace(microsecond=0), usegmt=True),
        "X-Content-Type-Options": "nosniff",
    }
    if _is_known(request, etag, modified):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type=media_type)


def _is_known(request: Request, etag: str, modified: datetime) -> bool:
    """RFC 9110, 13.2.2: the tag decides, where there is one."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return "*" in tags or etag in [each.strip().removeprefix("W/") for each in tags.split(",")]
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return modified.replace(microsecond=0) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False
