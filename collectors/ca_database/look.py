"""A record as an observation: where it stands, what is said of it."""

from datetime import datetime

from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Observation
from collectors.ca_database.record import LONGEST, Record, rfc3339

#: Everything in the database; the database itself is in the scope "".
RECORDS = "records"


def look(location: LocationURI, record: Record, at: datetime, collision: str) -> Observation:
    """`collision`: beginning of the SHA-256 of another certificate of the same CA and serial number, hex; empty:
    there is none."""
    facts: dict[str, Fact] = {**record.facts}
    if not record.lineage:
        facts["ca_status"] = "revoked" if record.revoked else "issued"
    if record.revoked:
        if record.revoked_at is not None:
            facts["revoked_at"] = rfc3339(record.revoked_at)
        if record.reason:
            facts["revocation_reason"] = record.reason
    if record.requester:
        facts["ca_requester"] = record.requester[:LONGEST]
    if record.profile:
        facts["ca_profile"] = record.profile[:LONGEST]
    if collision:
        facts["ca_collision"] = collision
    if record.der is None:
        if record.serial:
            facts["ca_serial"] = record.serial[:LONGEST]
        if record.subject:
            facts["ca_subject"] = record.subject[:LONGEST]
        if record.not_after is not None:
            facts["ca_not_after"] = rfc3339(record.not_after)
    return Observation(
        location=location,
        observed_at=at,
        chain=() if record.der is None else (record.der, *record.issuers),
        facts=facts,
        error=record.problem,
        scope=RECORDS,
    )
