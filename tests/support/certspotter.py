"""SSLMate's certspotter (Debian): an independent monitor, which verifies signatures, entries and consistency of RFC 6962 logs."""

import base64
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ct_log import log_list
from tests.support.servers import program, wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Certspotter:
    folder: Path
    log_id: bytes
    process: "subprocess.Popen[bytes]"

    @property
    def state(self) -> dict[str, Any]:
        name = base64.urlsafe_b64encode(self.log_id).decode().rstrip("=")
        for each in (self.folder / "state/logs").glob(f"{name}*/state.json"):
            try:
                return dict(json.loads(each.read_text()))
            except ValueError:
                return {}
        return {}

    @property
    def verified(self) -> int:
        """Entries that it has read, and found to be those of a signed head."""
        return int((self.state.get("verified_position") or {}).get("size", 0))

    def wait(self, size: int, seconds: float = 60) -> None:
        wait_until(lambda: self.verified >= size, what=f"certspotter verifies {size}", seconds=seconds)

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def found(self) -> set[int]:
        """Indexes of the entries that it tells of."""
        said = (self.folder / "said").read_text(errors="replace")
        return {int(each) for each in re.findall(r"Log Entry = (\d+) @", said)}


@contextmanager
def certspotter(entry: Mapping[str, Any], watched: Sequence[str]) -> Iterator[Certspotter]:
    """`entry`: a log as a log list has it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "list.json").write_bytes(log_list(entry))
        (folder / "watchlist").write_text("".join(f"{each}\n" for each in watched))
        (folder / "state").mkdir()
        command = [
            program("certspotter", "certspotter"),
            f"-logs={folder}/list.json",
            f"-state_dir={folder}/state",
            f"-watchlist={folder}/watchlist",
            "-stdout",
        ]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, cwd=folder)
            try:
                yield Certspotter(folder=folder, log_id=base64.b64decode(entry["log_id"]), process=process)
            finally:
                process.terminate()
                process.wait(timeout=30)
