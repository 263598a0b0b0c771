"""Whether CAA records allow what is found, looked up at once: what they said when the CA looked is not known later."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from certwatch.ct.leaves import Entry
from certwatch.doors.dns_records import CAALookup, NameServer, RelevantCAA
from certwatch.doors.failure import LookFailed
from certwatch.model.certificate import Certificate
from certwatch.model.observation import Fact
from certwatch.pki.caa import Permission, identities_of, permission
from certwatch.plugins.collector import CollectError
from certwatch.telemetry.logs import get_logger
from collectors.ct.config import CAALookups

log = get_logger(__name__)

#: Of one certificate.
MOST_NAMES = 100
#: What was logged longer ago was issued under records that may have been others.
OLDEST = timedelta(days=3)
MAX_TEXT = 500


class Allowance:
    """For one scan: each name is asked once. `close` it."""

    def __init__(self, config: CAALookups) -> None:
        """Raises CollectError: there is no name server."""
        self._identities = config.identities
        try:
            self._lookup = CAALookup(
                [NameServer.parse(each) for each in config.servers], timeout=config.timeout.total_seconds()
            )
        except LookFailed as failed:
            raise CollectError(failed.kind, failed.error.message) from failed

    async def close(self) -> None:
        await self._lookup.close()

    async def facts(self, certificate: Certificate, entry: Entry, now: datetime) -> dict[str, Fact]:
        """`ct_caa` and what goes with it. Empty: nothing can be said."""
        names = [each[4:] for each in certificate.names[:MOST_NAMES] if each.startswith("dns:")]
        identities = identities_of(certificate.issuer, self._identities)
        if not names or not identities or now - entry.at > OLDEST:
            return {}
        found = await asyncio.gather(*(self._permission(each, identities) for each in names))
        known = [(name, each) for name, each in zip(names, found, strict=True) if each is not None]
        return _facts(known, len(names), is_all=len(names) == len(certificate.names))

    async def _permission(
        self, name: str, identities: Sequence[str]
    ) -> tuple[RelevantCAA, Permission] | None:
        """None: it cannot be looked up."""
        try:
            relevant = await self._lookup.relevant(name.removeprefix("*."))
        except LookFailed as failed:
            log.warning("ct_caa_not_looked_up", name=name[:253], error=failed.error.message)
            return None
        records = [(each.tag, each.value) for each in relevant.records]
        return relevant, permission(records, identities, is_wildcard=name.startswith("*."))


def _facts(
    found: Sequence[tuple[str, tuple[RelevantCAA, Permission]]], asked: int, *, is_all: bool
) -> dict[str, Fact]:
    """The worst of all names counts; a name of which nothing is known is as one without records, unless another is forbidden.
    `is_all`: it has no other names, which would have to be bound as well."""
    for name, (relevant, each) in found:
        if each.standing == "forbidden":
            who = ", ".join(each.allowed) or "nobody"
            said = f"the CAA records of {relevant.at}, which hold for {name}, allow {who}, and not this CA"
            return {"ct_caa": "forbidden", "ct_caa_text": said[:MAX_TEXT]}
    standings = {each.standing for _, (_, each) in found}
    if len(found) < asked or "open" in standings:
        return {"ct_caa": "open"}
    accounts = sorted({account for _, (_, each) in found for account in each.accounts})
    if standings == {"bound"} and is_all:
        return {"ct_caa": "bound", "ct_caa_accounts": " ".join(accounts)[:MAX_TEXT]}
    return {"ct_caa": "allowed"}
