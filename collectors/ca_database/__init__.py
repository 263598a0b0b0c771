"""CA databases: what was issued, whether or not anybody serves it."""

from collections.abc import AsyncIterator, Generator
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from typing import ClassVar

from certwatch.model.instants import read_instant
from certwatch.model.observation import Fact, Incomplete, LookError, Observation, Unchanged
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from certwatch.telemetry.logs import get_logger
from collectors.ca_database.authorities import read_authorities
from collectors.ca_database.batches import in_batches
from collectors.ca_database.config import CADatabaseConfig
from collectors.ca_database.issuance import count
from collectors.ca_database.look import RECORDS
from collectors.ca_database.places import database_location, record_location, record_prefix
from collectors.ca_database.record import ReadFailed, Reading, WentBack, rfc3339
from collectors.ca_database.sources import make_source
from collectors.ca_database.telling import Telling

log = get_logger(__name__)

Said = Observation | Incomplete | Unchanged


class CADatabaseCollector:
    """Locations: `ca-database://NAME` is the database, with what was counted in it; `cadb://NAME/SERIAL` is a certificate
    that it holds (`?ca=…` where several CAs share it, `#…` where another has that serial number already);
    `acme://NAME/…` is what an ACME client keeps up.

    How far the database was read is a fact of the database's own location, so that it stands in the inventory exactly
    if what was read does.
    """

    Config: ClassVar[type[CollectorConfig]] = CADatabaseConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, CADatabaseConfig)  # noqa: S101
        self._name = name
        self._config = config
        self._context = context
        # A mark is of use to the settings that it was made with only.
        self._digest = sha256(config.model_dump_json().encode()).hexdigest()[:12]

    def collect(self) -> AsyncIterator[Said]:
        return in_batches(self._name, self._looks(), self._context.progress)

    def _looks(self) -> Generator[Said, None, None]:
        """In a thread. Raises ReadFailed if nothing can be read at all."""
        now = self._context.clock()
        authorities = read_authorities(self._config)
        before = self._before()
        facts: dict[str, Fact] = dict(before.facts) if before is not None else {}
        mark = self._mark(facts, now)
        went_back = False
        source = make_source(self._config, now, self._status)
        try:
            reading = source.open(mark)
        except WentBack as back:
            log.warning("ca_database_went_back", collector=self._name, reason=str(back))
            went_back, mark = True, ""
            reading = source.open("")
        telling = Telling(
            self._name,
            source,
            self._context,
            now,
            expired=self._config.expired,
            before=facts if mark else {},
            follows=before is not None,
        )
        if reading is None:
            yield Unchanged(scope=RECORDS)
        else:
            with closing(reading):
                try:
                    yield from telling.records(reading)
                except ReadFailed as failed:
                    # What was read is kept; where it would have gone on next time is not.
                    error = LookError(kind=failed.kind, message=f"{self._name}: {failed.message}")
                    yield Incomplete(scope=RECORDS, error=error)
                    yield Observation(
                        location=database_location(self._name), observed_at=self._context.clock(), error=error
                    )
                    return
                facts = self._counted(reading, telling, facts, now)
            if not reading.whole:
                yield Unchanged(scope=RECORDS)
        facts.update(source.facts)
        if went_back:
            facts["ca_went_back_at"] = rfc3339(now)
        yield Observation(
            location=database_location(self._name),
            observed_at=self._context.clock(),
            chain=authorities or source.authorities,
            facts=facts,
        )

    def _counted(
        self, reading: Reading, telling: Telling, before: dict[str, Fact], now: datetime
    ) -> dict[str, Fact]:
        mark = reading.mark()
        pending = reading.pending()
        for each in reading.outcomes():
            count(self._name, "", each.profile, each.outcome)
        facts: dict[str, Fact] = {
            "ca_preset": self._config.preset,
            "arrangement": "bundle",
            **telling.tally.facts(),
            "ca_full_read_at": rfc3339(now) if reading.whole else before.get("ca_full_read_at"),
            "ca_mark": f"{self._digest} {mark}" if mark else None,
            "ca_went_back_at": before.get("ca_went_back_at"),
        }
        if pending is not None:
            facts["ca_pending"] = pending.count
            facts["ca_pending_since"] = rfc3339(pending.since)
            if pending.oldest:
                # Since it was first met there: it waits at least so long.
                same = before.get("ca_pending_oldest") == pending.oldest
                facts["ca_pending_since"] = (before.get("ca_pending_since") if same else None) or rfc3339(now)
                facts["ca_pending_oldest"] = pending.oldest
        return {name: value for name, value in facts.items() if value is not None}

    def _before(self) -> Served | None:
        """The database as it stands in the inventory. None: nothing is known."""
        view = self._context.view
        if view is None:
            return None
        served = view.served(database_location(self._name))
        return served if served is not None and served.retired_at is None else None

    def _status(self, serial: str) -> str | None:
        """What the inventory has of a serial number of a CA that gives each only once: "issued" or "revoked"."""
        view = self._context.view
        if view is None:
            return None
        served = view.served(record_location(record_prefix(self._name), serial, "", ""))
        if served is None or served.retired_at is not None or served.leaf is None:
            return None
        return str(served.facts.get("ca_status"))

    def _mark(self, facts: dict[str, Fact], now: datetime) -> str:
        """Where to go on. Empty: everything must be read."""
        digest, _, mark = str(facts.get("ca_mark") or "").partition(" ")
        read_at = read_instant(facts.get("ca_full_read_at"))
        if digest != self._digest or read_at is None or not read_at <= now < read_at + self._config.reconcile:
            return ""
        return mark
