"""Findings from their rows."""

from collections.abc import Sequence
from typing import Any

from certwatch.inventory.instants import from_micros
from certwatch.inventory.session import Session
from certwatch.inventory.silences import COLUMNS, WIDTH, silence
from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import SEVERITIES, Finding, FindingID
from certwatch.model.location import LocationURI

_FINDING = """
SELECT f.id, f.rule, f.severity, l.uri, f.fingerprint, f.summary, f.text, f.runbook, f.owner, f.opened_at,
       f.resolved_at, {}
FROM findings f JOIN locations l ON l.id = f.location LEFT JOIN silences s ON s.id = f.silence
WHERE {}
"""


def read_findings(connection: Session, which: str, parameters: Sequence[object] = ()) -> list[Finding]:
    """Findings `f` at locations `l` for which the SQL condition (and what follows it) holds."""
    return [finding(row) for row in connection.execute(_FINDING.format(COLUMNS, which), parameters)]


def finding(row: tuple[Any, ...]) -> Finding:
    id, rule, severity, uri, fingerprint, summary, text, runbook, owner, opened_at, resolved_at = row[:-WIDTH]
    silenced = row[-WIDTH:]
    return Finding(
        id=FindingID(id),
        rule=rule,
        severity=SEVERITIES[severity],
        location=LocationURI(uri),
        fingerprint=None if fingerprint is None else Fingerprint(fingerprint),
        summary=summary,
        text=text,
        runbook=runbook,
        owner=owner,
        opened_at=from_micros(opened_at),
        resolved_at=from_micros(resolved_at),
        silence=silence(silenced) if silenced[0] is not None else None,
    )
