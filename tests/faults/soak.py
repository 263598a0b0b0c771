"""Daemons, workers and their database server, killed and paused again and again while what they look at changes: the inventory
at the end must be that of one quiet run. `python -m tests.faults.soak --minutes 30 --every 20`."""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock, Thread

from certwatch.inventory import open_inventory
from certwatch.inventory.store import FindingQuery, InventoryError, Reader
from certwatch.model.location import LocationURI, file_location, tls_location
from certwatch.plugins.testing import Issued, make_certificate
from tests.support.databases import PostgreSQLCluster, postgresql_cluster
from tests.support.nginx import Nginx, NginxServer, nginx
from tests.support.servers import free_port, stop, wait_until

FILES, ADDRESSES = 40, 32
NAME = "www.example.com"
#: Longer than the server's patience with who stands still.
PAUSE_SECONDS = 27.0
#: For one state to arrive in the inventory, whatever is killed meanwhile.
ARRIVAL_SECONDS = 240.0
#: Rules whose word depends on the place and the certificate there alone: others also have a word on how long something has been
#: so, and on what was known of other places when it was said.
COMPARED = frozenset({"expiry"})

#: What the inventory says of a place: URI, whether it is live, its chain, stable facts, labels, collectors, owner; and its
#: history: position and certificate, in order.
Known = tuple[str, bool, tuple[bytes, ...], str, str, tuple[str, ...], str, tuple[tuple[int, bytes], ...]]
Found = tuple[str, str, str, bytes | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Files that come, change and go, and endpoints whose certificate is renewed: states by number."""

    folder: Path
    web: Nginx
    issued: Sequence[Issued]

    def has(self, state: int, file: int) -> bool:
        return (file + state) % 5 != 0

    def leaf(self, state: int, file: int) -> Issued:
        return self.issued[(file + (state + file % 2) // 2) % len(self.issued)]

    def served(self, state: int) -> Issued:
        return self.issued[(state // 2) % len(self.issued)]

    def path(self, file: int) -> Path:
        return self.folder / f"{file:03}.pem"

    def apply(self, state: int) -> None:
        for file in range(FILES):
            path = self.path(file)
            if not self.has(state, file):
                path.unlink(missing_ok=True)
                continue
            pem = self.leaf(state, file).pem
            if not path.exists() or path.read_bytes() != pem:
                fresh = path.with_suffix(".new")
                fresh.write_bytes(pem)
                fresh.replace(path)
        now = self.served(state)
        self.web.swap(0, now.pem, now.key_pem)

    def expected(self, state: int) -> dict[LocationURI, bytes]:
        wanted = {
            file_location(str(self.path(file))): self.leaf(state, file).der
            for file in range(FILES)
            if self.has(state, file)
        }
        for last in range(ADDRESSES):
            uri = tls_location(f"127.1.0.{last}", self.web.port, server_name=NAME)
            wanted[uri] = self.served(state).der
        return wanted

    def collectors(self) -> str:
        return (
            f"collectors:\n"
            f"  - {{kind: file, name: files, every: 2s, paths: ['{self.folder}/*.pem'], labels: {{environment: prod}}}}\n"
            f"  - {{kind: tls, name: edge, zone: dmz, every: 3s, targets: ['127.1.0.0/27:{self.web.port}'],"
            f" server_name: {NAME}, labels: {{environment: prod, team: edge}}}}\n"
        )


@dataclass
class Kept:
    """A process that is begun again whenever it ends, as systemd does it."""

    name: str
    words: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    begun: int = 0

    def keep(self) -> None:
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(
                    self.words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            self.begun += 1

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> None:
        if self.process is not None:
            self.send(signal.SIGCONT)
            stop(self.process)


@dataclass
class Cast:
    """The processes of one run, kept up until it ends."""

    kept: list[Kept]
    _ended: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads.append(Thread(target=self._keep))
        self._threads[0].start()

    def _keep(self) -> None:
        while not self._ended.wait(0.3):
            for each in self.kept:
                each.keep()

    def stop(self) -> None:
        self._ended.set()
        for each in self._threads:
            each.join()
        for one in self.kept:
            one.end()

    @property
    def logs(self) -> str:
        return "\n".join(
            f"--- {each.name}\n{each.log.read_text(errors='replace')[-6000:]}" for each in self.kept
        )


@contextmanager
def cast(folder: Path, url: str, world: World, *, daemons: int, workers: int) -> Iterator[Cast]:
    folder.mkdir()
    kept = []
    for number in range(daemons):
        config = folder / f"daemon-{number}.yaml"
        config.write_text(
            f"inventory: {url}\ntrust: {{}}\nworkers: {{lease: 5s, part_looks: 8}}\nrules: {{lint: false}}\n"
            f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{free_port()}'}}]\n{world.collectors()}"
        )
        kept.append(_kept(folder, f"daemon-{number}", "run", "-c", str(config)))
    for number in range(workers):
        config = folder / f"worker-{number}.yaml"
        config.write_text(f"inventory: {url}\nworkers: {{lease: 5s}}\n")
        kept.append(_kept(folder, f"worker-{number}", "worker", "--queue", "dmz", "-c", str(config)))
    acting = Cast(kept)
    acting.start()
    try:
        yield acting
    finally:
        acting.stop()


def _kept(folder: Path, name: str, *words: str) -> Kept:
    return Kept(name, [sys.executable, "-m", "certwatch", *words], folder / f"{name}.log")


def arrived(url: str, world: World, state: int) -> bool:
    """The inventory has this state, all of it judged. A server that is away: not yet."""
    wanted = world.expected(state)
    try:
        with closing(open_inventory(url, create=False).reader()) as reader:
            live = {
                each.location.uri: each.chain[0].der if each.chain and each.error is None else b""
                for each in reader.live()
            }
            return live == wanted and not reader.due(datetime.now(UTC), 1)
    except InventoryError:
        return False


def known(reader: Reader, world: World, states: int) -> tuple[list[Known], list[Found]]:
    places = sorted({uri for state in range(states) for uri in world.expected(state)})
    rows: list[Known] = []
    for uri in places:
        served = reader.served(uri)
        assert served is not None, uri
        rows.append(
            (
                uri,
                served.retired_at is None,
                tuple(each.der for each in served.chain),
                repr(sorted(served.facts.items())),
                repr(sorted(served.location.labels.items())),
                served.collectors,
                served.owner,
                tuple((each.position, each.certificate.der) for each in reversed(reader.history(uri))),
            )
        )
    findings = sorted(
        (each.rule, each.severity, str(each.location), each.fingerprint, each.owner)
        for each in reader.findings(FindingQuery())
        if each.rule in COMPARED
    )
    return rows, findings  # type: ignore[return-value]


class Harm:
    """Kills and pauses one after the other, never the same server twice at once."""

    def __init__(
        self, acting: Cast, cluster: PostgreSQLCluster, seed: int, say: Callable[[str], None]
    ) -> None:
        self._acting = acting
        self._cluster = cluster
        self._draw = random.Random(seed)  # noqa: S311
        self._say = say
        self._lock = Lock()
        self._continued: list[Thread] = []
        self.done: dict[str, int] = {}

    def once(self) -> None:
        victim = self._draw.choice([*self._acting.kept, None])
        if victim is None:
            what = "kill database server"
            self._cluster.kill()
            self._cluster.start()
        elif self._draw.random() < 0.25:
            what = f"pause {victim.name}"
            victim.send(signal.SIGSTOP)
            process = victim.process
            thread = Thread(target=lambda: self._go_on(process))
            thread.start()
            self._continued.append(thread)
        else:
            what = f"kill {victim.name}"
            victim.send(signal.SIGKILL)
        self._say(what)
        self.done[what] = self.done.get(what, 0) + 1

    @staticmethod
    def _go_on(process: subprocess.Popen[bytes] | None) -> None:
        time.sleep(PAUSE_SECONDS)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        for each in self._continued:
            each.join()


def soak(
    folder: Path, *, seconds: float, every: float, seed: int, say: Callable[[str], None]
) -> dict[str, int]:
    """What was done to them, by kind. Raises AssertionError where the inventories differ, TimeoutError when a state does not
    arrive."""
    with ExitStack() as stack:
        cluster = stack.enter_context(postgresql_cluster("fsync=off"))
        issued = [
            make_certificate(
                names=[f"dns:{NAME}", f"dns:host-{number}.example.com"],
                key_number=200 + number,
                not_before=datetime.now(UTC) - timedelta(days=80),
                # Every third one is to be renewed soon: it has a finding.
                not_after=datetime.now(UTC) + timedelta(days=12 if number % 3 == 0 else 80),
            )
            for number in range(7)
        ]
        first = issued[0]
        web_folder = folder / "nginx"
        web_folder.mkdir()
        files = folder / "files"
        files.mkdir()
        server = NginxServer(chain_pem=first.pem, key_pem=first.key_pem, names=(NAME,), host="0.0.0.0")  # noqa: S104
        world = World(folder=files, web=stack.enter_context(nginx(web_folder, [server])), issued=issued)
        url, quiet_url = (
            f"postgresql://admin@127.0.0.1:{cluster.server.port}/{name}" for name in ("ca", "quiet")
        )
        cluster.server.run("CREATE DATABASE quiet", database="postgres")
        states = 0
        with cast(folder / "harmed", url, world, daemons=2, workers=2) as acting:
            harm = Harm(acting, cluster, seed, say)
            ended = Event()

            def harming() -> None:
                while not ended.wait(every):
                    harm.once()

            thread = Thread(target=harming)
            deadline = time.monotonic() + seconds
            try:
                while states < 2 or time.monotonic() < deadline:
                    _reach(acting, world, url, states)
                    say(f"state {states}")
                    states += 1
                    if states == 1:
                        thread.start()
                    # The quiet run goes through as many.
                    time.sleep(every / 4)
            finally:
                ended.set()
                if thread.ident is not None:
                    thread.join()
                harm.end()
            _reach(acting, world, url, states - 1)
            begun = {each.name: each.begun for each in acting.kept}
        say(f"begun: {begun}; the quiet run")
        for path in files.iterdir():
            path.unlink()
        with cast(folder / "quiet", quiet_url, world, daemons=1, workers=1) as acting:
            for state in range(states):
                _reach(acting, world, quiet_url, state)
        with (
            closing(open_inventory(url).reader()) as harmed,
            closing(open_inventory(quiet_url).reader()) as quiet,
        ):
            assert harmed.check() == []
            _compare(known(harmed, world, states), known(quiet, world, states))
            assert harmed.counts().certificates == quiet.counts().certificates
        return harm.done | {"states": states}


def _reach(acting: Cast, world: World, url: str, state: int) -> None:
    world.apply(state)
    try:
        wait_until(lambda: arrived(url, world, state), what=f"state {state}", seconds=ARRIVAL_SECONDS)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{acting.logs}") from error


def _compare(one: tuple[list[Known], list[Found]], other: tuple[list[Known], list[Found]]) -> None:
    for place, again in zip(one[0], other[0], strict=True):
        assert place == again, f"{place[0]}:\n{place}\nin the quiet run:\n{again}"
    harmed, quiet = set(one[1]), set(other[1])
    assert quiet, "no finding: this compares nothing"
    assert harmed == quiet, f"findings: {harmed - quiet} are too many, {quiet - harmed} are missing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=20, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 32))
    given = parser.parse_args()
    began = time.monotonic()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="certwatch-soak-") as folder:
        done = soak(
            Path(folder),
            seconds=given.minutes * 60,
            every=given.every,
            seed=given.seed,
            say=lambda what: print(f"{time.monotonic() - began:7.1f} s  {what}", flush=True),
        )
    print(f"equal: {done}")


if __name__ == "__main__":
    main()
