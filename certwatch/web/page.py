"""The page for people at `/`: plain HTML, no script, everything from outside escaped. Pure."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from certwatch.inventory.store import Entry
from certwatch.model.finding import Finding
from certwatch.model.observation import Scan
from certwatch.web.status import Status

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top;
  overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
.page, .failed, .expired { color: #b00020; } .ticket, .partial { color: #8a5300; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e8e8e8; } th, td { border-color: #444; }
  .page, .failed, .expired { color: #ff6b7f; } .ticket, .partial { color: #f0b35a; } a { color: #8ab4f8; } }
"""

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: Nothing is loaded from anywhere, no script runs, nobody frames it.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

#: Names of one certificate that are shown.
_NAMES = 3


def render(status: Status, *, not_ready: Sequence[str], broken: Sequence[str], version: str) -> str:
    counts = status.counts
    findings = ", ".join(f"{counts.open_findings.get(each, 0)} {each}" for each in ("page", "ticket", "info"))
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>certwatch</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style></head><body><h1>certwatch</h1>",
            _problems("Not ready", not_ready),
            _problems("Plug-ins that could not be used", broken),
            f"<p>{counts.certificates:,} certificates, {counts.locations:,} locations; open findings: {findings}.",
            f" Read at {_instant(status.read_at)}.</p>",
            "<h2>Findings</h2>",
            _table(
                ("severity", "what", "where", "owner", "since"),
                map(_finding, status.findings),
                "Nothing is wrong, as far as was looked.",
            ),
            "<h2>Next to expire</h2>",
            _table(
                ("not after", "certificate", "names", "where", "owner"),
                (_expiry(each, status.read_at) for each in status.expiries),
                "No certificate has been seen yet.",
            ),
            "<h2>Last scans</h2>",
            _table(
                ("collector", "status", "finished", "looks", "errors", ""),
                map(_scan, status.scans),
                "No scan has ended yet.",
            ),
            '<p><a href="/metrics">metrics</a> · <a href="/api/v1/status">status as JSON</a> ·',
            f" certwatch {escape(version)}</p></body></html>\n",
        ]
    )


def _problems(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return (
        f'<h2 class="failed">{title}</h2><ul>'
        + "".join(f"<li>{escape(each)}</li>" for each in lines)
        + "</ul>"
    )


def _table(head: Sequence[str], rows: Iterable[str], empty: str) -> str:
    body = "".join(rows)
    if not body:
        return f"<p>{empty}</p>"
    return (
        "<table><tr>" + "".join(f'<th scope="col">{each}</th>' for each in head) + "</tr>" + body + "</table>"
    )


def _row(*cells: str) -> str:
    """Cells are HTML."""
    return "<tr>" + "".join(f"<td>{each}</td>" for each in cells) + "</tr>"


def _finding(finding: Finding) -> str:
    return _row(
        f'<span class="{finding.severity}">{finding.severity}</span>',
        escape(finding.summary),
        escape(finding.location),
        escape(finding.owner),
        _instant(finding.opened_at),
    )


def _expiry(entry: Entry, now: datetime) -> str:
    certificate = entry.certificate
    names = [name.partition(":")[2] for name in certificate.names]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    not_after = "unreadable" if certificate.not_after is None else _instant(certificate.not_after)
    if entry.validity == "expired":
        not_after = f'<span class="expired">{not_after}</span>'
    places = [place for place in entry.places if place.ended_at is None]
    where = escape(places[0].location) if places else ""
    return _row(
        not_after,
        escape(certificate.subject) or "(no subject)",
        escape(", ".join(names[:_NAMES])) + more,
        where + (f" and {entry.locations - 1} more" if entry.locations > 1 else ""),
        escape(places[0].owner) if places else "",
    )


def _scan(scan: Scan) -> str:
    return _row(
        escape(scan.collector),
        f'<span class="{scan.status}">{scan.status}</span>',
        _instant(scan.finished_at) if scan.finished_at is not None else "",
        f"{scan.observations:,}",
        f"{scan.errors:,}",
        escape(scan.error.message) if scan.error is not None else "",
    )


def _instant(instant: datetime) -> str:
    return f'<time datetime="{instant.isoformat()}">{instant:%Y-%m-%d %H:%M} UTC</time>'
