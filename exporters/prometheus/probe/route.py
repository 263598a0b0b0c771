"""`/probe?target=&module=`, as blackbox_exporter and ssl_exporter answer it."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from certwatch.doors.failure import LookFailed
from certwatch.model.clock import Clock
from certwatch.pki.trust import TrustStore
from exporters.prometheus.exposition import TEXT
from exporters.prometheus.probe.answer import labelled
from exporters.prometheus.probe.http import probe_http
from exporters.prometheus.probe.looking import Looking, ProbeFailed, Ready, make_ready, system_trust
from exporters.prometheus.probe.modules import ModuleKeys, Modules
from exporters.prometheus.probe.tcp import probe_tcp

#: So much earlier than Prometheus gives up, the probe does.
HEAD_START_SECONDS = 0.5
#: Where neither the module nor Prometheus says how long.
LONGEST_SECONDS = 55.0
#: A module's certificates and the system's roots are read anew after so long.
READ_ANEW_SECONDS = 300.0
#: Probes at once; more wait for their turn within their own time limit.
AT_ONCE = 1000
LONGEST_TARGET = 4096

PROBERS: Mapping[str, Callable[[Looking], Coroutine[Any, Any, None]]] = {
    "tcp": probe_tcp,
    "http": probe_http,
    "https": probe_http,
}


class Probes:
    """Owned by the event loop."""

    def __init__(self, modules: Modules, *, ssl_metrics: bool, clock: Clock) -> None:
        self._modules = modules
        self._ssl_metrics = ssl_metrics
        self._clock = clock
        self._ready: dict[str, tuple[float, Ready]] = {}
        self._preparing = asyncio.Lock()
        self._trust: tuple[float, TrustStore] | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    def route(self) -> Route:
        return Route("/probe", _Endpoint(self), methods=["GET"])

    async def answer(self, request: Request) -> Response:
        # A browser says who made it ask: a page of a stranger must not make us connect to what only this host reaches.
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _refusal("Probing is not for pages of strangers", 403)
        asked = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        name = asked.get("module") or self._modules.default
        module = self._modules.modules.get(name)
        if module is None:
            return _refusal(f'Unknown module "{name[:200]}"')
        if module.unsupported:
            return _refusal(f'Module "{name}": {module.unsupported}')
        target = module.target or asked.get("target", "")
        if not target:
            return _refusal("Target parameter is missing")
        if len(target) > LONGEST_TARGET or not target.isprintable():
            return _refusal("Target parameter is no target")
        try:
            limit = _time_limit(module, request.headers.get("x-prometheus-scrape-timeout-seconds", ""))
        except ValueError:
            return _refusal("Prometheus' header X-Prometheus-Scrape-Timeout-Seconds is no number")
        return await self._probed(name, module, target, asked, limit)

    async def _probed(
        self, name: str, module: ModuleKeys, target: str, asked: Mapping[str, str], limit: float
    ) -> Response:
        began = time.perf_counter()
        said: list[str] = []
        looking: Looking | None = None
        success = False
        try:
            async with asyncio.timeout(limit), self._turns:
                looking = Looking(
                    await self._made_ready(name, module), target, asked.get("hostname", "")[:253]
                )
                await PROBERS[module.prober](looking)
            success = True
        except (ProbeFailed, LookFailed) as error:
            said = [str(error)]
        except TimeoutError:
            said = [f"not done within {limit:g} s"]
        if looking is None:
            # What the module needs cannot be had: nothing was looked at.
            return _refusal(said[0], 500)
        answer = looking.answer
        answer.put("probe_success", int(success))
        answer.put("probe_duration_seconds", time.perf_counter() - began)
        answer.put("probe_timeout_seconds", limit)
        if self._ssl_metrics:
            answer.put("ssl_probe_success", int(success))
            answer.put_labelled("ssl_prober", labelled("ssl_prober", {"prober": module.prober}))
        if asked.get("debug") == "true":
            lines = [*looking.said, *said, f"success: {success}", "", answer.text().decode()]
            return PlainTextResponse("\n".join(lines))
        return Response(answer.text(), media_type=TEXT)

    async def _made_ready(self, name: str, module: ModuleKeys) -> Ready:
        now = time.monotonic()
        known = self._ready.get(name)
        if known is not None and now - known[0] < READ_ANEW_SECONDS:
            return known[1]
        async with self._preparing:
            known = self._ready.get(name)
            if known is None or now - known[0] >= READ_ANEW_SECONDS:
                ready = await asyncio.to_thread(
                    make_ready, name, module, self._system, ssl_metrics=self._ssl_metrics, clock=self._clock
                )
                known = self._ready[name] = (time.monotonic(), ready)
        return known[1]

    def _system(self) -> TrustStore:
        # One thread at a time: `_preparing` is held.
        now = time.monotonic()
        if self._trust is None or now - self._trust[0] >= READ_ANEW_SECONDS:
            self._trust = (now, system_trust())
        return self._trust[1]


class _Endpoint:
    """An ASGI application, so that Starlette adds nothing around the call."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._probes.answer(Request(scope, receive))
        await response(scope, receive, send)


def _refusal(text: str, status: int = 400) -> Response:
    return PlainTextResponse(text + "\n", status)


def _time_limit(module: ModuleKeys, header: str) -> float:
    """Seconds. Raises ValueError."""
    asked = float(header) if header else 0.0
    if not math.isfinite(asked) or asked < 0:
        raise ValueError(header)
    most = min((asked or LONGEST_SECONDS + HEAD_START_SECONDS) - HEAD_START_SECONDS, LONGEST_SECONDS)
    own = module.timeout.total_seconds()
    if most <= 0:
        return own or LONGEST_SECONDS
    return min(own, most) if own > 0 else most
