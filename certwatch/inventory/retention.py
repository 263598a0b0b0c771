"""What is forgotten, and what never is: nothing that is live, open, or the last of its kind."""

from certwatch.inventory import totals
from certwatch.inventory.session import Session
from certwatch.inventory.store import Pruned

_ENDED_SIGHTINGS = """
DELETE FROM sightings WHERE ended_at < :before AND NOT EXISTS (
    -- What a live location showed last stays known, though it fails since it came back.
    SELECT 1 FROM locations l, json_each(l.chain) c
    WHERE l.id = sightings.location AND l.retired_at IS NULL AND c.value = sightings.certificate)
"""

_RESOLVED_FINDINGS = "DELETE FROM findings WHERE resolved_at < ?"

_SILENCES = """
DELETE FROM silences WHERE min(until, coalesce(ended_at, until)) < :before
    AND NOT EXISTS (SELECT 1 FROM findings f WHERE f.silence = silences.id)
"""

#: Locations retired before, of which no sighting and no finding is left, and which the rules have seen retired.
_GONE = """
INSERT INTO forgotten SELECT l.id FROM locations l JOIN judgements j ON j.location = l.id
WHERE l.retired_at < :before AND j.due_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM sightings s WHERE s.location = l.id)
    AND NOT EXISTS (SELECT 1 FROM findings f WHERE f.location = l.id)
"""

_SCANS = """
DELETE FROM scans WHERE finished_at < :before AND EXISTS (
    SELECT 1 FROM scans later
    WHERE later.collector = scans.collector AND later.id > scans.id AND later.finished_at IS NOT NULL)
"""

#: Certificates that no sighting names any more.
_UNSEEN = """
INSERT INTO forgotten SELECT c.id FROM certificates c
WHERE NOT EXISTS (SELECT 1 FROM sightings s WHERE s.certificate = c.id)
"""
#: Of these, those that a chain names. Apart: the chains are read once, and not once for each certificate.
_NAMED = """
DELETE FROM forgotten WHERE id IN (SELECT e.value FROM locations l, json_each(l.chain) e)
"""


def prune(connection: Session, before: int, findings_before: int | None) -> Pruned:
    """See `store.Writer.prune`; within the caller's transaction."""
    limit = {"before": before}
    sightings = connection.execute(_ENDED_SIGHTINGS, limit).rowcount
    findings = 0
    if findings_before is not None:
        findings = connection.execute(_RESOLVED_FINDINGS, (findings_before,)).rowcount
    connection.execute(_SILENCES, limit)
    scans = connection.execute(_SCANS, limit).rowcount
    connection.scratch("forgotten", "id BIGINT PRIMARY KEY")
    locations = connection.execute(_GONE, limit).rowcount
    for table in ("watches", "looks", "judgements"):
        connection.execute(f"DELETE FROM {table} WHERE location IN (SELECT id FROM forgotten)")
    connection.execute("DELETE FROM locations WHERE id IN (SELECT id FROM forgotten)")
    certificates = 0
    if sightings or locations:
        connection.scratch("forgotten", "id BIGINT PRIMARY KEY")
        certificates = connection.execute(_UNSEEN).rowcount
        certificates -= connection.execute(_NAMED).rowcount if certificates else 0
        for table in ("ders", "names"):
            connection.execute(f"DELETE FROM {table} WHERE certificate IN (SELECT id FROM forgotten)")
        connection.execute("DELETE FROM certificates WHERE id IN (SELECT id FROM forgotten)")
    totals.recount(connection)
    return Pruned(
        sightings=sightings, findings=findings, scans=scans, locations=locations, certificates=certificates
    )
