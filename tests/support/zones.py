"""A daemon and workers of a zone, each a process of its own, on one inventory in PostgreSQL."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from certwatch.inventory import open_inventory
from certwatch.inventory.postgresql.zones import Zones
from certwatch.inventory.store import InventoryError, Reader
from certwatch.model.observation import Scan
from tests.support.daemon import COMMAND, Certwatch, config_text
from tests.support.servers import free_port, running, wait_until

WORKER = (sys.executable, "-m", "certwatch", "worker")
#: The shortest that there is: tests wait for it.
LEASE_SECONDS = 5.0


@dataclass
class Stage:
    folder: Path
    #: Of the inventory.
    url: str
    daemons: list[Certwatch] = field(default_factory=list)
    workers: dict[str, Certwatch] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    def daemon(
        self,
        collectors: str,
        *,
        name: str = "daemon",
        workers: str = "",
        more: str = "",
        part_looks: int = 2_000,
    ) -> Certwatch:
        """Until it works. `workers`: more keys of that name, in flow style with a comma in front."""
        keys = f"workers: {{lease: 5s, part_looks: {part_looks}{workers}}}\n{more}"
        self.daemons.append(self.stack.enter_context(self._daemon(name, collectors, keys)))
        return self.daemons[-1]

    @contextmanager
    def _daemon(self, name: str, collectors: str, keys: str) -> Iterator[Certwatch]:
        folder = self.folder / name
        folder.mkdir()
        port = free_port()
        config = folder / "certwatch.yaml"
        text = config_text(folder, port, collectors, keys)
        config.write_text(text.replace(f"sqlite://{folder}/inventory.db", self.url))
        log = folder / "log"
        probe = _process(config, log, port)
        up = lambda: "stands_by" in probe.log or probe.ask("/-/ready").status == 200  # noqa: E731
        with running([*COMMAND, "-c", config], ready=up, log=log, seconds=60) as process:
            yield replace(probe, process=process)

    def worker(self, name: str, *words: str, zone: str = "dmz", url: str | None = None) -> Certwatch:
        """Until it waits for jobs."""
        folder = self.folder / name
        folder.mkdir()
        config = folder / "certwatch.yaml"
        config.write_text(f"inventory: {url or self.url}\nworkers: {{lease: 5s}}\n")
        log = folder / "log"
        probe = _process(config, log, 0)
        process = self.stack.enter_context(
            running(
                [*WORKER, "--queue", zone, "-c", config, *words],
                ready=lambda: "worker_ready" in probe.log,
                log=log,
                seconds=60,
            )
        )
        self.workers[name] = replace(probe, process=process)
        return self.workers[name]

    def pusher(
        self, name: str, url: str, certificate: Path, *words: str | Path, zone: str = "dmz"
    ) -> Certwatch:
        """A worker that hands in over HTTPS, until it waits for jobs. Called again with the same name: in its next life."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        log = folder / "log"
        probe = _process(folder / "none", log, 0)
        process = self.stack.enter_context(
            running(
                [
                    *WORKER,
                    "--queue",
                    zone,
                    "--push",
                    url,
                    "--cert",
                    certificate,
                    "--spool",
                    folder / "spool",
                    *words,
                ],
                ready=lambda: "worker_ready" in probe.log,
                log=log,
                seconds=60,
            )
        )
        self.workers[name] = replace(probe, process=process)
        return self.workers[name]

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        reader = open_inventory(self.url, create=False).reader()
        try:
            yield reader
        finally:
            reader.close()

    def last_scan(self, collector: str) -> Scan | None:
        """None: it never began one."""
        with self.reader() as reader:
            return next((each for each in reader.last_scans() if each.collector == collector), None)

    def scanned(self, collector: str, *, seconds: float = 90) -> Scan:
        """Its last scan, when it has ended."""

        def ended() -> bool:
            try:
                scan = self.last_scan(collector)
            except InventoryError as error:
                if error.kind != "unreachable":  # a test that has the server restart
                    raise
                return False
            return scan is not None and scan.status != "running"

        try:
            wait_until(ended, what=f"a scan of {collector}", seconds=seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.logs}") from error
        scan = self.last_scan(collector)
        assert scan is not None
        return scan

    def wait(self, ready: "object", what: str, seconds: float = 60) -> None:
        try:
            wait_until(ready, what=what, seconds=seconds)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.logs}") from error

    @property
    def logs(self) -> str:
        return "\n".join(
            f"--- {each.parent.name}\n{each.read_text()}" for each in sorted(self.folder.glob("*/log"))
        )

    def alive(self) -> int:
        """Workers that the database has heard of lately."""
        with closing(Zones(self.url)) as zones:
            return sum(each.alive for each in zones.workers())

    def locations(self) -> dict[str, int]:
        """Live ones, with how many certificates each serves."""
        with self.reader() as reader:
            return {str(each.location.uri): len(each.chain) for each in reader.live()}


def _process(config: Path, log: Path, port: int) -> Certwatch:
    return Certwatch(
        process=None,  # type: ignore[arg-type]
        config=config,
        inventory=config.parent / "none",
        log_file=log,
        port=port,
    )


@contextmanager
def stage(folder: Path, url: str) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(folder=folder, url=url, stack=stack)
