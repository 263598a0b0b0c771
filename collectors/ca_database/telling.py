"""From records to observations: named, counted, and told apart where two have one serial number."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256

from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.x509.der import read
from collectors.ca_database.issuance import count
from collectors.ca_database.look import look
from collectors.ca_database.places import lineage_location, record_location, record_prefix
from collectors.ca_database.record import ReadFailed, Reading, Record, Source, serial_of_number
from collectors.ca_database.serials import Serials
from collectors.ca_database.skim import Skimmed, skim
from collectors.ca_database.tally import Tally

#: In a reading of everything, what began before it is not new.
RECENT = timedelta(days=2)
#: New records that are held against the inventory one by one; of more, none is.
MOST_ASKED = 20_000
#: Records of one reading: a source that has no end is not read for ever.
MOST = 50_000_000


class Telling:
    """One reading. Owned by its thread."""

    def __init__(
        self,
        name: str,
        source: Source,
        context: CollectorContext,
        now: datetime,
        *,
        expired: timedelta,
        before: Mapping[str, Fact],
        follows: bool = False,
    ) -> None:
        """`before`: what the reading that this one goes on from had counted. `follows`: the database was read before, so that
        what the inventory does not know is new."""
        self._follows = follows
        self._recent = now - RECENT
        self._name = name
        self._prefix = record_prefix(name)
        self._several = source.several
        self._context = context
        self._oldest = now - expired
        self._serials = Serials()
        self._asked = 0
        self.tally = Tally(
            now,
            str(before.get("ca_issued_by_day") or ""),
            before.get("ca_longest_lifetime_days"),
            before.get("ca_issuers"),
            before.get("ca_short_serials"),
        )

    def records(self, reading: Reading) -> Iterator[Observation]:
        """Raises ReadFailed."""
        for number, record in enumerate(reading.records()):
            if number >= MOST:
                raise ReadFailed("other", f"more than {MOST} records. See what its tables or pages hold")
            skimmed = skim(record.der) if record.der is not None else None
            not_after = record.not_after if skimmed is None else skimmed.not_after
            if record.lineage:
                # It stays, however long it has ended: somebody thinks that it is kept up.
                if skimmed is not None:
                    self.tally.add(skimmed.issuer, skimmed.serial, skimmed.not_before, skimmed.not_after)
                yield look(lineage_location(self._name, record.lineage), record, self._context.clock(), "")
                continue
            if not_after is not None and not_after < self._oldest:
                continue
            yield self._one(record, skimmed, new_only=not reading.whole)

    def _one(self, record: Record, skimmed: Skimmed | None, *, new_only: bool) -> Observation:
        issuer = skimmed.issuer if skimmed is not None and self._several else ""
        serial = serial_of_number(skimmed.serial) if skimmed is not None else record.serial
        digest = sha256(record.der).digest() if record.der is not None else b""
        location = record_location(self._prefix, serial or record.place or digest[:8].hex(), issuer, "")
        known, other = self._known(location) if new_only else (False, b"")
        if skimmed is not None and not known:
            self.tally.add(skimmed.issuer, skimmed.serial, skimmed.not_before, skimmed.not_after)
        if self._follows and skimmed is not None and record.der is not None:
            if not new_only:
                known = skimmed.not_before < self._recent or self._known(location)[0]
            if not known:
                count(self._name, read(record.der).issuer, record.profile or "", "issued")
        collision = ""
        if digest:
            met = self._serials.other(location, digest) or (other[:8] if other != digest else b"")
            collision = met.hex()
            if collision:
                location = record_location(
                    self._prefix, serial or record.place or digest[:8].hex(), issuer, digest[:8].hex()
                )
        return look(location, record, self._context.clock(), collision)

    def _known(self, location: LocationURI) -> tuple[bool, bytes]:
        """Whether the inventory has this place, and the certificate there."""
        view = self._context.view
        self._asked += 1
        if view is None or self._asked > MOST_ASKED:
            return False, b""
        served = view.served(location)
        if served is None or served.retired_at is not None:
            return False, b""
        return True, served.leaf.fingerprint_sha256 if served.leaf is not None else b""
