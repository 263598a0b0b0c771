"""News as documents of the Elastic Common Schema (ECS 8): pure, one dict a happening."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Finding, Severity
from certwatch.model.location import LocationURI, parse_file_location, parse_tls_location
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served

Document = dict[str, Any]

ECS_VERSION = "8.17.0"

#: ECS leaves the scale of event.severity to the source; ours follows syslog turned round: greater is graver.
SEVERITY_NUMBER: dict[Severity, int] = {"page": 3, "ticket": 2, "info": 1}

_ATTRIBUTES = {
    "CN": "common_name",
    "C": "country",
    "L": "locality",
    "O": "organization",
    "OU": "organizational_unit",
    "ST": "state_or_province",
}


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finding_document(action: str, finding: Finding, served: Served | None, now: datetime) -> Document:
    """`action`: "finding-opened", "finding-altered", "finding-resolved". `served`: what is known of the place."""
    certificate = _certificate(served, finding)
    document = _base(action, now, dataset="certwatch.finding", kind="alert")
    document["message"] = finding.summary
    document["event"] |= {
        "id": f"{finding.id}-{action.removeprefix('finding-')}",
        "severity": SEVERITY_NUMBER[finding.severity],
        "start": instant(finding.opened_at),
        "reason": finding.text,
    }
    if finding.resolved_at is not None:
        document["event"]["end"] = instant(finding.resolved_at)
    document["rule"] = {"id": finding.rule, "name": finding.rule, "reference": finding.runbook}
    document |= _place(finding.location, served, certificate)
    document["certwatch"] |= {"severity": finding.severity, "owner": finding.owner}
    return document


def location_document(action: str, served: Served, now: datetime) -> Document:
    """`action`: "location-changed", "location-retired"."""
    document = _base(action, now, dataset="certwatch.location", kind="state")
    document["event"]["outcome"] = "failure" if served.error else "success"
    document["message"] = f"{served.location.uri} {action.removeprefix('location-')}"
    if served.error is not None:
        document["error"] = {"code": served.error.kind, "message": served.error.message}
    document |= _place(served.location.uri, served, served.leaf)
    document["certwatch"] |= {"owner": served.owner, "collectors": list(served.collectors)}
    return document


def scan_document(scan: Scan, now: datetime) -> Document:
    document = _base("scan-finished", now, dataset="certwatch.scan", kind="event")
    finished = scan.finished_at or now
    document["message"] = f"scan of {scan.collector}: {scan.status}"
    document["event"] |= {
        "outcome": "success" if scan.status == "complete" else "failure",
        "start": instant(scan.started_at),
        "end": instant(finished),
        # ECS wants nanoseconds.
        "duration": max(0, int((finished - scan.started_at).total_seconds() * 1e9)),
    }
    if scan.error is not None:
        document["error"] = {"code": scan.error.kind, "message": scan.error.message}
    document["certwatch"] = {
        "collector": scan.collector,
        "status": scan.status,
        "observations": scan.observations,
        "errors": scan.errors,
    }
    return document


def _base(action: str, now: datetime, *, dataset: str, kind: str) -> Document:
    return {
        "@timestamp": instant(now),
        "ecs": {"version": ECS_VERSION},
        "event": {
            "kind": kind,
            "category": ["configuration"],
            "type": ["change" if action.endswith("changed") else "info"],
            "action": action,
            "module": "certwatch",
            "dataset": dataset,
        },
    }


def _certificate(served: Served | None, finding: Finding) -> Certificate | None:
    if served is None or finding.fingerprint is None:
        return None
    return next((each for each in served.chain if each.fingerprint_sha256 == finding.fingerprint), None)


def _place(uri: LocationURI, served: Served | None, certificate: Certificate | None) -> Document:
    x509 = x509_fields(certificate) if certificate is not None else None
    fields: Document = {"certwatch": {"location": uri}}
    if x509 is not None:
        fields["x509"] = x509
    if served is not None and served.location.labels:
        fields["labels"] = dict(served.location.labels)
    if uri.startswith("tls://"):
        fields |= _endpoint(uri, served, certificate, x509)
    elif uri.startswith("file://"):
        path = parse_file_location(uri)
        fields["file"] = {"path": path, "name": path.rpartition("/")[2]} | ({"x509": x509} if x509 else {})
    return fields


def _endpoint(
    uri: LocationURI, served: Served | None, certificate: Certificate | None, x509: Document | None
) -> Document:
    endpoint = parse_tls_location(uri)
    tls: Document = {}
    if served is not None:
        version = re.fullmatch(r"(TLS|SSL)v([\d.]+)", str(served.facts.get("tls_version", "")))
        if version is not None:
            tls |= {"version_protocol": version[1].lower(), "version": version[2]}
        if served.facts.get("cipher"):
            tls["cipher"] = served.facts["cipher"]
        tls["established"] = served.error is None
    if certificate is not None and x509 is not None:
        tls["server"] = {
            "x509": x509,
            "hash": {"sha256": certificate.fingerprint_sha256.hex().upper()},
            "subject": certificate.subject,
            "issuer": certificate.issuer,
        } | {key: x509[key] for key in ("not_before", "not_after") if key in x509}
    if endpoint.server_name is not None:
        tls["client"] = {"server_name": endpoint.server_name}
    server: Document = {"address": endpoint.host, "port": endpoint.port}
    if re.fullmatch(r"[0-9.]+|[0-9a-f:.]*:[0-9a-f:.]*", endpoint.host):
        server["ip"] = endpoint.host
    if endpoint.server_name is not None:
        server["domain"] = endpoint.server_name
    return {"tls": tls, "server": server}


def x509_fields(certificate: Certificate) -> Document:
    """The `x509.*` field set. What could not be read is left out."""
    fields: Document = {
        "alternative_names": [name.partition(":")[2] for name in certificate.names],
        "issuer": {"distinguished_name": certificate.issuer} | dict(_attributes(certificate.issuer)),
        "subject": {"distinguished_name": certificate.subject} | dict(_attributes(certificate.subject)),
        "serial_number": certificate.serial_hex.upper(),
        "signature_algorithm": certificate.signature_algorithm,
        "public_key_algorithm": certificate.key.type,
    }
    optional = {
        "not_before": certificate.not_before and instant(certificate.not_before),
        "not_after": certificate.not_after and instant(certificate.not_after),
        "public_key_size": certificate.key.bits,
        "public_key_curve": certificate.key.curve,
        "public_key_exponent": certificate.key.exponent,
    }
    return fields | {key: value for key, value in optional.items() if value is not None}


def _attributes(name: str) -> Iterator[tuple[str, list[str]]]:
    """Attributes of an RFC 4514 string that ECS has fields for, each with all its values."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"(?<!\\)[,+]", name):
        key, _, value = part.partition("=")
        field = _ATTRIBUTES.get(key.strip().upper())
        if field is not None:
            found.setdefault(field, []).append(re.sub(r"\\([,+\"\\<>;= #])", r"\1", value))
    yield from found.items()
