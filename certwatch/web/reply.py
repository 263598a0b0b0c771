"""Answers with the headers that every one of them carries."""

import gzip
import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from certwatch.plugins.negotiation import takes_gzip

HTML = "text/html; charset=utf-8"
JSON = "application/json"
PROBLEM = "application/problem+json"

#: Nothing is loaded from elsewhere, no script runs, nobody frames it, forms go nowhere else.
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

#: Smaller ones fit into a packet anyhow.
_ZIPPED_FROM = 1400


def zips(request: Request) -> bool:
    return takes_gzip(request.headers.get("accept-encoding", ""))


def reply(
    body: bytes,
    media_type: str,
    status: int = 200,
    *,
    zip: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Pure, and worth a thread for a large body: `zip` compresses it."""
    sent = {"Cache-Control": "no-store", **_HEADERS, **(headers or {}), "Content-Type": media_type}
    if len(body) >= _ZIPPED_FROM:
        sent["Vary"] = "Accept-Encoding"
        if zip:
            body = gzip.compress(body, 5, mtime=0)
            sent["Content-Encoding"] = "gzip"
    return Response(body, status, sent)


def json_bytes(value: object) -> bytes:
    """ASCII only: safe wherever it is shown, and lone surrogates (names of files) cannot break it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """RFC 9457. The type is the status's own: "about:blank", left out (4.2.1)."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return reply(json_bytes(body), PROBLEM, status, headers=headers)
