"""A host in miniature: nginx with a certificate that nears its end, a CA, and a daemon that may renew it."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from certwatch.model.location import Location, LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.deployer import Material, Target
from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.daemon import Certwatch, certwatch, reading
from tests.support.nginx import Nginx, NginxServer, nginx, presented
from tests.support.servers import free_port


def dying(*names: str, hours: float = 20, number: int = 1) -> Issued:
    """Self-signed, of 90 days, nearly over."""
    now = datetime.now(UTC)
    return make_certificate(
        names=[f"dns:{each}" for each in names],
        not_before=now - timedelta(days=90),
        not_after=now + timedelta(hours=hours),
        key_number=number,
    )


def server(issued: Issued, **more: Any) -> NginxServer:
    return NginxServer(chain_pem=issued.pem, key_pem=issued.key_pem, **more)


@dataclass
class Visitor:
    """A client that visits all the time: every visit must be answered."""

    port: int
    name: str
    visits: int = 0
    #: DER of every leaf that was seen, in order, each once.
    seen: list[bytes] = field(default_factory=list)
    failed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def visiting(self) -> Iterator[None]:
        thread = threading.Thread(target=self._visit, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(15)

    def _visit(self) -> None:
        while not self._stop.wait(0.03):
            der = presented(self.port, name=self.name)
            self.visits += 1
            if not der:
                self.failed += 1
            elif not self.seen or self.seen[-1] != der:
                self.seen.append(der)


@dataclass
class Receiver:
    """Whom Alertmanager tells: (status, rule) of every alert, in order."""

    told: list[tuple[str, str]] = field(default_factory=list)
    #: As Alertmanager sends them.
    alerts: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The URL."""
        told, alerts = self.told, self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for alert in json.loads(body)["alerts"]:
                    alerts.append(alert)
                    told.append((alert["status"], alert["labels"].get("rule", "")))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/"
            finally:
                server.shutdown()
                thread.join(15)


def routed_to(url: str) -> str:
    """An Alertmanager's config that tells everything at once."""
    return (
        "route: {receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: test, webhook_configs: [{{url: '{url}', send_resolved: true}}]}}]\n"
    )


def target(uri: str, former: Issued) -> Target:
    """A place where `former` lies, as the inventory knows it."""
    leaf = read(former.der)
    seen = datetime.now(UTC)
    served = Served(
        id=1,
        location=Location(uri=LocationURI(uri)),
        collectors=("edge",),
        chain=(leaf,),
        facts={},
        error=None,
        failing_since=None,
        first_seen=seen,
        last_seen=seen,
        last_served=seen,
        retired_at=None,
    )
    return Target(served=served, former=leaf)


def material(issued: Issued) -> Material:
    return Material(key_pem=issued.key_pem, chain_pem=issued.chain_pem, certificate=read(issued.der))


@dataclass(frozen=True, kw_only=True)
class Renewing:
    """A daemon that renews, and what it says of that."""

    daemon: Certwatch

    def verified(self) -> None:
        """Wait for it."""
        self.daemon.wait(lambda: any(each["state"] == "verified" for each in self.plans()), "a verified plan")
        self.daemon.wait(lambda: not self.findings("expiry"), "the finding to be resolved")

    def proofs(self) -> dict[str, str]:
        """What `doctor --readiness` says, by what it is about."""
        done = self.daemon.command("doctor", "--readiness", "--json")
        assert done.returncode in (0, 1), done.stderr
        return {each["what"]: each["verdict"] for each in json.loads(done.stdout)["proofs"]}

    def plans(self) -> list[dict[str, Any]]:
        done = self.daemon.command("remediate", "status", "--all", "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["plans"]
        return sorted(found, key=lambda each: each["id"])

    def findings(self, rule: str) -> list[dict[str, Any]]:
        done = self.daemon.command("findings", "--rule", rule, "--json")
        found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
        return found


@dataclass(frozen=True, kw_only=True)
class Host(Renewing):
    nginx: Nginx
    folder: Path


#: Of the embedded CA, with its keys in a file.
KEY_FILE = "key_file: {folder}/ca.key, key_passphrase: a secret of a test"


def rest_of_config(folder: Path, policy: str, *, keys: str = KEY_FILE, every: str = "1s") -> str:
    """A CA, and one policy, whose lines are indented by six."""
    return f"""
ca: {{directory: {folder}/ca, {keys.format(folder=folder)}, lint: false, listen: '127.0.0.1:0'}}
remediation:
  directory: {folder}/remediation
  every: {every}
  policies:
    - name: web
      rules: [expiry, compromised]
      {policy}
"""


def config(
    folder: Path,
    nginx: Nginx,
    *,
    policy: str = "",
    deploy: str = "",
    names: Sequence[str] = (),
    every: str = "1s",
    keys: str = KEY_FILE,
    environment: str = "staging",
) -> tuple[str, str]:
    """Collectors, and the rest of a config."""
    port = nginx.ports[0]
    targets = ", ".join(f'"tls://127.0.0.1:{port}/?sni={name}"' for name in names)
    collectors = f"""
  - {{name: edge, kind: tls, every: 1h, targets: [{targets}], labels: {{environment: {environment}}}}}
  - {{name: hosts, kind: file, every: 1h, paths: ["{nginx.folder}/*.chain.pem"], labels: {{environment: {environment}}}}}"""
    reload = f"[nginx, -p, {nginx.folder}, -c, {nginx.folder}/nginx.conf, -s, reload]"
    deploy = (
        deploy
        or f"{{kind: files, paths: {nginx.folder}/*.chain.pem, key: '{{folder}}/{{first}}.key.pem', reload: {reload}}}"
    )
    policy = f"""issuer: {{kind: embedded, profile: server}}
      deploy: [{deploy}]
      {policy}"""
    return collectors, rest_of_config(folder, policy, keys=keys, every=every)


def found_ca(folder: Path, text: str) -> None:
    """A root and an intermediate, made by the command line beforehand."""
    path = folder / "before.yaml"
    path.write_text(text)
    before = Certwatch(process=None, config=path, inventory=folder, log_file=folder / "log", port=0)  # type: ignore[arg-type]
    for kind, name in (("root", "Test Root"), ("intermediate", "Test Issuing")):
        done = before.command("ca", "init", f"--{kind}", "--name", name, "--out", f"{folder}/{kind}.pem")
        assert done.returncode == 0, done.stderr


@contextmanager
def host(
    folder: Path,
    issued: Issued,
    *,
    names: Sequence[str],
    policy: str = "approve: automatic",
    exporters: str = "",
    **more: Any,
) -> Iterator[Host]:
    with nginx(folder, [server(issued)]) as web:
        collectors, rest = config(folder, web, names=names, policy=policy, **more)
        found_ca(folder, rest)
        with certwatch(folder, collectors, rest, exporters=exporters) as daemon:
            yield Host(daemon=daemon, nginx=web, folder=folder)


#: Under it stand all certificates of a fleet.
OLD_CA = make_ca("Old Issuing CA", issuer=make_ca("Old Root", key_number=540), key_number=541)


def fleet_names(count: int) -> list[str]:
    return [f"host-{number}.example.com" for number in range(count)]


@contextmanager
def fleet(
    folder: Path, count: int, *, policy: str = "approve: automatic", environment: str = "staging"
) -> Iterator[Host]:
    """`count` server blocks of one nginx, each with a certificate of its own under one CA, and a daemon that saw them all."""
    port = free_port()
    names = fleet_names(count)
    now = datetime.now(UTC)
    issued = [
        make_certificate(
            names=[f"dns:{name}"],
            issuer=OLD_CA,
            not_before=now - timedelta(days=1),
            not_after=now + timedelta(days=89),
            key_number=1000 + number % 50,
        )
        for number, name in enumerate(names)
    ]
    servers = [
        NginxServer(chain_pem=each.chain_pem, key_pem=each.key_pem, names=(name,), port=port)
        for name, each in zip(names, issued, strict=True)
    ]
    http = "server_names_hash_max_size 16384; server_names_hash_bucket_size 128;"
    with nginx(folder, servers, http=http) as web:
        collectors, rest = config(folder, web, names=names, policy=policy, environment=environment)
        found_ca(folder, rest)
        with certwatch(folder, collectors, rest) as daemon:
            daemon.wait(lambda: _seen(daemon) == 2 * count, f"{2 * count} places")
            yield Host(daemon=daemon, nginx=web, folder=folder)


def _seen(daemon: Certwatch) -> int:
    with reading(daemon.inventory) as reader:
        return sum(1 for each in reader.live() if each.chain)
