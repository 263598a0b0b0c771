"""OCSP over HTTP (RFC 6960, appendix A; RFC 5019, 5): GET with the request in the path, POST with it as the body.

A bare ASGI application: answers that are kept are sent as they are, at some ten thousand a second."""

import base64
import binascii
import time
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope, Send

from certwatch.ca.ocsp_answer import MAX_REQUEST_BYTES, Malformed, read
from certwatch.ca.responder import MALFORMED, Answer, Responder
from certwatch.ca.service import Service
from certwatch.model.clock import Clock
from certwatch.telemetry.metrics import CA_OCSP_ANSWERS

_COUNTERS = {
    outcome: CA_OCSP_ANSWERS.labels(outcome)
    for outcome in ("good", "revoked", "unknown", "malformed", "unauthorized", "error")
}


class OCSP:
    def __init__(self, responder: Responder, service: Service, clock: Clock) -> None:
        self._responder, self._service, self._clock = responder, service, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "POST":
            der = await _body(receive)
        elif method in ("GET", "HEAD"):
            der = _in_path(scope["raw_path"])
        else:
            await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"GET, POST")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if self._is_out(scope["path"]):
            # An exercise: as an overloaded responder answers.
            await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"60")]})
            await send({"type": "http.response.body", "body": b""})
            return
        answer = await self._answer(der)
        _COUNTERS[answer.outcome].inc()
        known = method != "POST" and _is_known(scope, answer)
        await send(
            {
                "type": "http.response.start",
                "status": 304 if known else 200,
                "headers": _sent(answer, known=known),
            }
        )
        await send({"type": "http.response.body", "body": b"" if known or method == "HEAD" else answer.der})

    def _is_out(self, path: str) -> bool:
        paused = self._service.authority.ocsp_paused
        if not paused:
            return False
        issuer = path.split("/", 3)[2]
        until = (
            paused.get(int(issuer)) if issuer.isascii() and issuer.isdigit() and len(issuer) < 10 else None
        )
        return until is not None and until > time.monotonic()

    async def _answer(self, der: bytes | None) -> Answer:
        if der is None:
            return MALFORMED
        responder = self._responder
        now = self._clock().timestamp()
        found = responder.kept(der, now)
        if found is not None:
            return found
        try:
            asked = read(der)
        except Malformed:
            return MALFORMED
        found = responder.ready(der, asked, now)
        if found is not None:
            return found
        return await self._service.beside(lambda: responder.signed(asked))


def _sent(answer: Answer, *, known: bool) -> list[tuple[bytes, bytes]]:
    if not known:
        return list(answer.headers)
    return [each for each in answer.headers if each[0] not in (b"content-length", b"content-type")]


def _is_known(scope: Scope, answer: Answer) -> bool:
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            return any(header == (b"etag", value) for header in answer.headers)
    return False


async def _body(receive: Receive) -> bytes | None:
    """None: it is larger than any request, or the client has gone."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > MAX_REQUEST_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _in_path(raw: bytes) -> bytes | None:
    """Base64 in URL-encoding after /ocsp/ISSUER/, its own slashes as they are or encoded. None: there is none."""
    parts = raw.split(b"?", 1)[0].split(b"/", 3)
    if len(parts) < 4 or not parts[3] or len(parts[3]) > 4 * MAX_REQUEST_BYTES:
        return None
    # Some clients put one slash too many between the URL and the request.
    text: bytes = unquote_to_bytes(parts[3].lstrip(b"/"))
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
