"""An inventory to try things on, by kind of store: the contract tests run on each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from certwatch.inventory import open_inventory
from certwatch.inventory.store import Judgement, Query, Reader, Recorded, RuleProblem, Settled, Store, Writer
from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Problem, Severity
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, LookError, Observation, Scan
from certwatch.model.sighting import Served
from certwatch.plugins.testing import FakeClock, Issued
from tests.support import postgresql_inventories

#: Every store that there is.
STORES = ("sqlite", "postgresql")

TIMEOUT = LookError(kind="timeout", message="no answer within 5 s")


@dataclass(kw_only=True)
class Tried:
    """A store with its writer, a reader and a clock."""

    store: Store
    writer: Writer
    reader: Reader
    clock: FakeClock = field(default_factory=FakeClock)

    def look(
        self,
        uri: str,
        *chain: Issued | bytes,
        at: datetime | None = None,
        facts: Mapping[str, Fact] | None = None,
        error: LookError | None = None,
        labels: Mapping[str, str] | None = None,
        scope: str = "",
    ) -> Observation:
        return Observation(
            location=LocationURI(uri),
            observed_at=at or self.clock(),
            chain=tuple(each if isinstance(each, bytes) else each.der for each in chain),
            facts=facts or {},
            error=error,
            labels=labels or {},
            scope=scope,
        )

    def record(
        self, *looks: Observation, collector: str = "edge", labels: Mapping[str, str] | None = None
    ) -> Recorded:
        """In a scan that is complete then, a second later."""
        scan = self.writer.begin_scan(collector, self.clock())
        recorded = self.writer.record(scan, looks, labels or {})
        self.writer.finish_scan(scan, [], self.clock.advance(seconds=1))
        return recorded

    def scan(
        self,
        *looks: Observation,
        collector: str = "edge",
        incomplete: Sequence[Incomplete] = (),
        failed: LookError | None = None,
    ) -> Scan:
        scan = self.writer.begin_scan(collector, self.clock())
        self.writer.record(scan, looks, {})
        return self.writer.finish_scan(scan, incomplete, self.clock.advance(seconds=1), failed=failed)

    def served(self, uri: str) -> Served:
        served = self.reader.served(LocationURI(uri))
        assert served is not None, uri
        return served

    def history(self, uri: str) -> list[tuple[bytes, int, datetime, datetime, datetime | None]]:
        """DER, position, first seen, last seen, end; oldest first."""
        return [
            (each.certificate.der, each.position, each.first_seen, each.last_seen, each.ended_at)
            for each in reversed(self.reader.history(LocationURI(uri)))
        ]

    def listed(self, **asked: object) -> list[bytes]:
        return self.answer(Query(**asked))  # type: ignore[arg-type]

    def answer(self, query: Query) -> list[bytes]:
        return [entry.certificate.der for entry in self.reader.list(query, self.clock())]

    def due(self) -> list[str]:
        return [each.served.location.uri for each in self.reader.due(self.clock(), 1000)]

    def settle(
        self,
        *problems: RuleProblem,
        uri: str | None = None,
        owner: str = "",
        silent: frozenset[str] = frozenset(),
        due_at: datetime | None = None,
    ) -> Settled:
        """Judge all that is due (or only `uri`), each with these problems."""
        return self.writer.settle(
            [
                Judgement(
                    location_id=due.served.id,
                    revision=due.revision,
                    owner=owner,
                    problems=problems,
                    silent=silent,
                    due_at=due_at,
                )
                for due in self.reader.due(self.clock(), 1000)
                if uri in (None, due.served.location.uri)
            ],
            self.clock(),
        )


def problem(
    rule: str = "expiry",
    *,
    severity: Severity = "page",
    certificate: Issued | None = None,
    summary: str = "www.example.com expires 2026-12-31",
    text: str = "Renew it.",
) -> RuleProblem:
    return RuleProblem(
        rule=rule,
        runbook=f"docs/rules/{rule}.md",
        problem=Problem(
            severity=severity,
            fingerprint=None if certificate is None else fingerprint(certificate.der),
            summary=summary,
            text=text,
        ),
    )


def fingerprint(der: bytes) -> Fingerprint:
    return Fingerprint(sha256(der).digest())


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Tried]:
    """An empty inventory. On leaving it must be sound, whatever was done to it."""
    with ExitStack() as stack:
        if kind == "sqlite":
            url = f"sqlite://{folder}/inventory.db"
        else:
            url = stack.enter_context(postgresql_inventories.empty())
        store = open_inventory(url)
        writer, reader = store.writer(), store.reader()
        try:
            tried = Tried(store=store, writer=writer, reader=reader)
            yield tried
            assert reader.check() == []
        finally:
            reader.close()
            writer.close()
