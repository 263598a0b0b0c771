"""The kubernetes collector against a real kube-apiserver with many Secrets, and against the official client's models.

CERTWATCH_BENCH_SECRETS=10000 for as many TLS Secrets as the target says; twice as many Helm releases of 200 KiB are made beside
them, and as many namespaces as Secrets in a cluster of their own. The default is a twentieth of it, so that a run is short.
CERTWATCH_BENCH_IDLE=600 for the ten minutes in which nothing changes.
"""

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from certwatch.plugins.testing import Issued, key
from collectors.kubernetes import objects, stored
from collectors.kubernetes.config import KubernetesConfig
from collectors.kubernetes.reading import Reading
from tests.bench.result import Result
from tests.support import kube_build
from tests.support.daemon import Certwatch, certwatch, reading
from tests.support.kubernetes import APIServer, api_server
from tests.support.kubernetes_load import create_all
from tests.support.numbered import NumberedCertificates
from tests.support.servers import wait_until

SECRETS = int(os.environ.get("CERTWATCH_BENCH_SECRETS", "500"))
RELEASES = 2 * SECRETS
RELEASE_BYTES = 200 << 10
#: So long nothing changes.
IDLE_SECONDS = float(os.environ.get("CERTWATCH_BENCH_IDLE", "20"))
NAMESPACES = 50
MANY_NAMESPACES = max(2000, SECRETS)
PARSED = 3000
CHANGES = 7
LISTS = 10
_MIB = 1 << 20


def pem(ders: list[bytes]) -> bytes:
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
        for der in ders
    )


class Secrets:
    """Bodies of Secrets as the API has them."""

    def __init__(self) -> None:
        self._certificates = NumberedCertificates()
        self._key = Issued(certificate=None, key=key("ec", 1)).key_pem  # type: ignore[arg-type]

    def tls(self, number: int, *, version: int = 0) -> dict[str, Any]:
        leaf = self._certificates.leaf(number + version * 5_000_000)
        data = {"tls.crt": pem([leaf, self._certificates.issuer]), "tls.key": self._key}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"tls-{number:05}",
                "namespace": namespace(number),
                "labels": {"app": "web"},
            },
            "type": "kubernetes.io/tls",
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        }


def namespace(number: int) -> str:
    return f"bench-{number % NAMESPACES:03}"


def release(number: int) -> bytes:
    """A Helm release as Secret: base64 of base64 of something compressed."""
    body = base64.b64encode(base64.b64encode(os.urandom(RELEASE_BYTES * 9 // 16))).decode()
    return json.dumps(
        {
            "metadata": {
                "name": f"sh.helm.release.v1.app-{number:05}.v1",
                "namespace": namespace(number),
                "labels": {"owner": "helm"},
            },
            "type": "helm.sh/release.v1",
            "data": {"release": body},
        }
    ).encode()


async def fill(server: APIServer) -> None:
    made = Secrets()
    await create_all(
        server,
        [("/api/v1/namespaces", {"metadata": {"name": namespace(each)}}) for each in range(NAMESPACES)],
    )

    def bodies() -> Iterator[tuple[str, Any]]:
        for number in range(SECRETS):
            yield f"/api/v1/namespaces/{namespace(number)}/secrets", made.tls(number)
        for number in range(RELEASES):
            yield f"/api/v1/namespaces/{namespace(number)}/secrets", release(number)

    await create_all(server, bodies(), at_once=16)


def parsing() -> list[Result]:
    """TLS Secrets from a page's JSON to places."""
    made = Secrets()
    page = page_of(json.dumps(made.tls(number)).encode() for number in range(PARSED))

    def ours() -> float:
        view = Reading(cluster="bench", config=KubernetesConfig())
        begun = time.process_time()
        places = sum(len(stored.secret(item, view).places) for item in _items(page))
        spent = time.process_time() - begun
        assert places == PARSED
        return spent

    rate = PARSED / min(ours() for _ in range(5))
    return [
        Result(
            what="kubernetes: TLS Secrets parsed, a core",
            measured=rate,
            unit="/s",
            target=3000,
            at_least=True,
            how=f"{PARSED:,} of leaf, intermediate and key, from JSON to chain, facts and key match; best of 5",
        )
    ]


def models() -> list[Result]:
    """Why not the official client: the same pages into its models and into what is read here, no certificate looked at."""
    from kubernetes.client import ApiClient

    made, client = Secrets(), ApiClient()

    def theirs(page: bytes) -> Any:
        return client.deserialize(page.decode(), "V1SecretList", "application/json")

    def ours(page: bytes) -> Any:
        return [objects.decode(item, objects.Secret) for item in _items(page)]

    small = page_of(json.dumps(made.tls(number)).encode() for number in range(PARSED))
    large = page_of(release(number) for number in range(40))

    def rate(decode: Callable[[bytes], Any]) -> float:
        seconds = []
        for _ in range(5):
            begun = time.process_time()
            decode(small)
            seconds.append(time.process_time() - begun)
        return PARSED / min(seconds)

    def extra(decode: Callable[[bytes], Any]) -> float:
        tracemalloc.start()
        try:
            decode(large)
            return tracemalloc.get_traced_memory()[1] / (1 << 20)
        finally:
            tracemalloc.stop()

    mine, official = rate(ours), rate(theirs)
    return [
        Result(
            what="kubernetes: Secrets decoded",
            measured=mine,
            unit="/s",
            how=f"official client's models {official:,.0f}/s: {mine / official:.1f} times as many",
        ),
        Result(
            what="kubernetes: memory beside a page of 40 Helm releases while it is decoded",
            measured=extra(ours),
            unit="MiB",
            how=f"official client's models {extra(theirs):.1f} MiB; the page has {len(large) / (1 << 20):.1f} MiB",
        ),
    ]


def page_of(items: Iterable[bytes]) -> bytes:
    head = b'{"apiVersion":"v1","kind":"SecretList","metadata":{"resourceVersion":"1"},"items":['
    return head + b",".join(items) + b"]}"


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def _items(page: bytes) -> list[msgspec.Raw]:
    return _list.decode(_fields.decode(page)["items"])


def _peak(process: psutil.Process) -> float:
    """MiB, since it began."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def _collector(server: APIServer, more: str = "") -> str:
    return f" [{{name: prod, kind: kubernetes, every: 1h, kubeconfig: {server.kubeconfig()}, sources: [secrets]{more}}}]"


def _followed(daemon: Certwatch) -> bool:
    labels = {"cluster": "prod", "resource": "secrets"}
    places = daemon.metric("certwatch_kubernetes_places", **labels)
    return daemon.metric("certwatch_kubernetes_followed", **labels) == 1 and places == SECRETS


def _idle_peak(folder: Path) -> float:
    folder.mkdir()
    with certwatch(folder) as daemon:
        wait_until(lambda: daemon.metric("certwatch_build_info") == 1, what="metrics")
        return _peak(psutil.Process(daemon.process.pid))


def _first(server: APIServer, folder: Path, idle: float, more: str, how: str, target: float | None) -> Result:
    folder.mkdir()
    begun = time.monotonic()
    with certwatch(folder, _collector(server, more)) as daemon:
        wait_until(lambda: _followed(daemon), what="the first collection", seconds=1200)
        seconds = time.monotonic() - begun
        peak = _peak(psutil.Process(daemon.process.pid))
    return Result(
        what=f"kubernetes: first collection, peak above an idle daemon{how}",
        measured=peak - idle,
        unit="MiB",
        target=target,
        how=f"{SECRETS:,} TLS Secrets, {RELEASES:,} releases of 200 KiB; {peak:.0f} and {idle:.0f} MiB; {seconds:.1f} s",
    )


def _watching(server: APIServer, folder: Path) -> list[Result]:
    """What it costs while nothing changes, and how soon a change is judged."""
    folder.mkdir()
    made = Secrets()
    with certwatch(folder, _collector(server)) as daemon:
        wait_until(lambda: _followed(daemon), what="the first collection", seconds=1200)
        process = psutil.Process(daemon.process.pid)
        _settle(process)
        lists, before, begun = server.requests("LIST", "secrets"), process.cpu_times(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        after, seconds = process.cpu_times(), time.monotonic() - begun
        spent = after.user + after.system - before.user - before.system
        assert server.requests("LIST", "secrets") == lists, "a LIST while nothing changed"
        delays = [_change(server, daemon, made, number) for number in range(CHANGES)]
    return [
        Result(
            what="kubernetes: nothing changes, of a core",
            measured=100 * spent / seconds,
            unit="%",
            target=1,
            how=f"{seconds:.0f} s, {SECRETS:,} Secrets watched, no LIST",
        ),
        Result(
            what="kubernetes: one Secret changes, until it is in the inventory and judged",
            measured=max(delays),
            unit="s",
            target=2,
            how=f"longest of {CHANGES}; median {statistics.median(delays):.2f} s",
        ),
    ]


def _settle(process: psutil.Process) -> None:
    """The linter has seen every certificate once (it runs beside the daemon, and ends then), and the rules have had their word."""
    deadline = time.monotonic() + 1800
    while time.monotonic() < deadline:
        if process.children():
            time.sleep(1)
            continue
        before = process.cpu_times()
        time.sleep(2)
        after = process.cpu_times()
        if after.user + after.system - before.user - before.system < 0.04:
            return


def _change(server: APIServer, daemon: Certwatch, made: Secrets, number: int) -> float:
    """Its certificate is another, on a day on which it has ended: expiry is found."""
    body = made.tls(number, version=1)
    meta = body["metadata"]
    uri = f"k8s://prod/{meta['namespace']}/secret/{meta['name']}?key=tls.crt"
    expected = base64.b64decode(body["data"]["tls.crt"])
    begun = time.monotonic()
    server.ask("PUT", f"/api/v1/namespaces/{meta['namespace']}/secrets/{meta['name']}", body)

    def judged() -> bool:
        with reading(daemon.inventory) as reader:
            served = reader.served(uri)  # type: ignore[arg-type]
            if served is None or served.leaf is None or pem([served.leaf.der]) not in expected:
                return False
            fingerprint = served.leaf.fingerprint_sha256
            return any(
                each.fingerprint == fingerprint for each in reader.open_findings() if each.location == uri
            )

    wait_until(judged, what=uri, seconds=60)
    return time.monotonic() - begun


def _many_namespaces(server: APIServer, folder: Path, idle: float) -> list[Result]:
    """What a namespace costs that has nothing of note, and one in ten has a Secret."""
    folder.mkdir()
    made = Secrets()
    names = [f"many-{number:05}" for number in range(MANY_NAMESPACES)]

    async def fill() -> None:
        await create_all(server, [("/api/v1/namespaces", {"metadata": {"name": each}}) for each in names])
        secrets = [
            (f"/api/v1/namespaces/{name}/secrets", made.tls(number) | {"metadata": {"name": "web"}})
            for number, name in enumerate(names)
            if number % 10 == 0
        ]
        await create_all(server, secrets)

    asyncio.run(fill())
    resources = ("secrets", "namespaces")
    # The API server watches some itself.
    watching = server.open_requests("WATCH", "secrets")
    before = sum(server.requests("LIST", each) for each in resources)
    begun = time.monotonic()
    with certwatch(folder, _collector(server)) as daemon:
        labels = {"cluster": "prod", "resource": "secrets"}
        wait_until(
            lambda: (
                daemon.metric("certwatch_kubernetes_followed", **labels) == 1
                and daemon.metric("certwatch_kubernetes_places", **labels) == len(names[::10])
            ),
            what="all namespaces",
            seconds=600,
        )
        seconds = time.monotonic() - begun
        peak = _peak(psutil.Process(daemon.process.pid))
        lists = sum(server.requests("LIST", each) for each in resources) - before
        watches = server.open_requests("WATCH", "secrets") - watching
    how = f"{MANY_NAMESPACES:,} namespaces, {len(names[::10]):,} with a Secret"
    return [
        Result(
            what="kubernetes: requests for a cluster of many namespaces",
            measured=lists,
            unit="",
            how=f"{how}: pages of lists of Secrets and namespaces; and {watches:.0f} watch of Secrets; {seconds:.1f} s",
        ),
        Result(
            what="kubernetes: many namespaces, peak above an idle daemon",
            measured=peak - idle,
            unit="MiB",
            target=150,
            how=how,
        ),
    ]


def _lists(server: APIServer) -> Result:
    """Whole lists one after the other, in a process that does nothing else: what it has after each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.kubernetes_lists", str(server.kubeconfig()), str(LISTS + 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    sizes = [float(line) for line in done.stdout.split()]
    grown = sizes[-1] - sizes[1]
    return Result(
        what=f"kubernetes: grown over {LISTS} further lists",
        measured=grown,
        unit="MiB",
        target=8,
        how=f"RSS after each: {' '.join(f'{each:.0f}' for each in sizes)}",
    )


def _said(results: list[Result]) -> None:
    """At full size the whole takes the better part of an hour: what there is does not wait for the end."""
    print(
        f"{results[-1].what}: {results[-1].measured:.2f} {results[-1].unit}; {results[-1].how}",
        file=sys.stderr,
    )


def run() -> list[Result]:
    results = [*parsing(), *models()]
    if kube_build.found("kube-apiserver") is None:
        print(kube_build.why_not("kube-apiserver"), file=sys.stderr)
        return results
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with api_server(folder / "cluster") as server:
            begun = time.monotonic()
            asyncio.run(fill(server))
            print(f"filled in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
            idle = _idle_peak(folder / "idle")
            results.append(_first(server, folder / "first", idle, "", "", 150))
            _said(results)
            results += _watching(server, folder / "watching")
            _said(results)
            everything = ", exclude_secret_types: []"
            results.append(_first(server, folder / "all", idle, everything, ", releases read too", 150))
            _said(results)
            results.append(_lists(server))
        with api_server(folder / "wide") as server:
            results += _many_namespaces(server, folder / "namespaces", idle)
    return results
