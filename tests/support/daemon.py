"""The real daemon as a process of its own, watched from outside: by its port, its log and its inventory."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certwatch.inventory import open_inventory
from certwatch.inventory.store import Reader
from tests.support.servers import free_port, running, wait_until

COMMAND = (sys.executable, "-m", "certwatch", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certwatch:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    config: Path
    inventory: Path
    log_file: Path
    port: int

    def ask(self, path: str, *, method: str = "GET", port: int | None = None) -> Answer:
        """Status 0: nobody answered."""
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return Answer(status=answer.status, text=answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, text=error.read().decode())
        except OSError as error:
            return Answer(status=0, text=str(error))

    @property
    def status(self) -> Any:
        return json.loads(self.ask("/api/v1/status").text)

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of the one series with these labels, among others. None: there is none."""
        found = self.series(name, **labels)
        return found[0][1] if found else None

    def series(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        result = []
        for line in self.ask("/metrics").text.splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match is None:
                continue
            has = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or ""))
            if labels.items() <= has.items():
                result.append((has, float(match[2])))
        return result

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait(self, ready: Any, what: str) -> None:
        try:
            wait_until(ready, what=what, seconds=40)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log}") from error

    def wait_for_log(self, text: str) -> None:
        self.wait(lambda: text in self.log, what=text)

    def command(self, *words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Another verb on the same config, while it runs."""
        command = [sys.executable, "-m", "certwatch", "-c", str(self.config), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = 15) -> int:
        """Waits for its end: the exit status."""
        return self.process.wait(timeout=seconds)


def config_text(
    folder: Path, port: int, collectors: str, more: str = "", *, trust: str = "{}", exporters: str = ""
) -> str:
    """A config with everything that must not be the default in a test. `exporters`: further ones, a flow sequence's
    items."""
    return (
        f"inventory: sqlite://{folder}/inventory.db\n"
        f"trust: {trust}\n"
        f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{port}'}}, {exporters}]\n"
        f"collectors:{collectors}\n{more}"
    )


@contextmanager
def certwatch(
    folder: Path,
    collectors: str = " []",
    more: str = "",
    *,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    ready: bool = True,
    trust: str = "{}",
    exporters: str = "",
) -> Iterator[Certwatch]:
    """Runs until the block ends. `ready`: wait until it says that it is."""
    port = port or free_port()
    config = folder / "certwatch.yaml"
    config.write_text(config_text(folder, port, collectors, more, trust=trust, exporters=exporters))
    log = folder / "log"
    probe = Certwatch(
        process=None,  # type: ignore[arg-type]
        config=config,
        inventory=folder / "inventory.db",
        log_file=log,
        port=port,
    )

    def up() -> bool:
        return probe.ask("/-/ready").status == 200 if ready else probe.ask("/-/healthy").status != 0

    with running([*COMMAND, "-c", config], ready=up, log=log, env=env) as process:
        yield Certwatch(
            process=process, config=config, inventory=folder / "inventory.db", log_file=log, port=port
        )


def refused(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run it with a config that it cannot start with, to its end."""
    config = folder / "refused.yaml"
    config.write_text(text)
    return subprocess.run([*COMMAND, "-c", str(config)], capture_output=True, text=True, timeout=30)


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """The inventory as another program sees it."""
    reader = open_inventory(f"sqlite://{path}", create=False).reader()
    try:
        yield reader
    finally:
        reader.close()
