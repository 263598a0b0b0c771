"""A collector of logs over the same inventory again and again, as the daemon runs it."""

import base64
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from certwatch.ct.heads import parse_sth
from certwatch.ct.merkle import leaf_hash, root_by_path, verify_consistency
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock
from collectors.ct import CTCollector
from tests.ct.odd_names import certificate, dns, san
from tests.support.ct_log import TestLog, log_list
from tests.support.ct_view import Memory


def ordinary(serial: int) -> bytes:
    return certificate(san(dns(f"host{serial}.unrelated.net")), serial=serial)


def ours(serial: int = 1, name: str = "www.example.com") -> bytes:
    return certificate(san(dns(name)), serial=serial)


def log_of(kind: str) -> TestLog:
    """Empty, and read in one of two ways: "rfc6962", "static"."""
    made = TestLog(indexed=kind == "static")
    made.speaks = {kind}
    return made


def log_with_one_of_ours(kind: str) -> TestLog:
    """Of 700 entries, published; the one in place 300 is watched for."""
    made = log_of(kind)
    for index in range(700):
        made.add(ours(index) if index == 300 else ordinary(index))
    made.publish()
    return made


class Reading:
    """A collector over the same inventory again and again, as the daemon runs it."""

    def __init__(self, folder: Path, *logs: TestLog, static: bool = False, **config: Any) -> None:
        self.folder, self.logs, self.static = folder, logs, static
        self.memory = Memory()
        self.clock = FakeClock(EPOCH)
        self.config = {
            "domains": [".example.com"],
            "start": "beginning",
            "contact": "ops@example.com",
            "poll": "50ms",
            "timeout": "10s",
        } | config
        self.states: dict[str, Any] = {}
        #: Why the last scan came to nothing.
        self.failed = ""

    def write_list(self) -> str:
        entries = [
            each.list_entry(static=self.static, state=self.states.get(each.name)) for each in self.logs
        ]
        path = self.folder / "log_list.json"
        path.write_bytes(log_list(*([] if self.static else entries), tiled=entries if self.static else []))
        return str(path)

    def plugin(self, **config: Any) -> CTCollector:
        return CTCollector(
            "logs",
            CTCollector.Config.model_validate({**self.config, **config}),
            CollectorContext(clock=self.clock, view=self.memory),
        )

    async def once(self, **config: Any) -> list[Observation]:
        return await self.run(self.plugin(**{"log_list": self.write_list(), **config}))

    async def run(self, plugin: CTCollector) -> list[Observation]:
        said = []
        self.failed = ""
        try:
            async with aclosing(cast("Any", plugin.collect())) as stream:
                async for each in stream:
                    if isinstance(each, Observation):
                        said.append(each)
                        self.memory.record(each)
        except CollectError as error:
            self.failed = error.message
        return said

    def found(self) -> dict[str, Observation]:
        return {uri: each for uri, each in self.memory.kept.items() if uri.startswith("ct://")}

    def state(self, log: TestLog) -> dict[str, Any]:
        served = self.memory.served(LocationURI("ct-log://" + log.url.partition("://")[2]))
        return dict(served.facts) if served is not None else {}

    def faults(self, log: TestLog) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", json.loads(self.state(log).get("ct_faults") or "[]"))


def prove(found: Observation, log: TestLog) -> None:
    """By what is in the observation, and the log's key, alone."""
    said = json.loads(str(found.facts["ct_proof"]))
    index = int(found.location.rpartition("/")[2])
    path = [base64.b64decode(each) for each in said["path"]]
    head = parse_sth(json.dumps(said["head"]))
    head.verify(log.key)
    root = root_by_path(index, said["tree_size"], leaf_hash(log.leaves[index]), path)
    consistency = [base64.b64decode(each) for each in said["consistency"]]
    verify_consistency(said["tree_size"], head.size, root, head.root, consistency)
