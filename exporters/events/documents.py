"""News as documents of the Elastic Common Schema (ECS 8 and 9): pure, one dict a happening."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import msgspec

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Finding, Severity
from certwatch.model.ledger_entry import LedgerEntry
from certwatch.model.location import LocationURI, parse_file_location, parse_tls_location
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from exporters.events.ecs import ECS_VERSION, LONGEST, fitted

Document = dict[str, Any]

#: ECS leaves the scale of event.severity to the source; ours follows syslog turned round: greater is graver.
SEVERITY_NUMBER: dict[Severity, int] = {"page": 3, "ticket": 2, "info": 1}

_TYPES = {"location-changed": "change", "location-retired": "deletion", "finding-altered": "change"}

_ATTRIBUTES = {
    "CN": "common_name",
    "C": "country",
    "L": "locality",
    "O": "organization",
    "OU": "organizational_unit",
    "ST": "state_or_province",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who says it: the same in every event of a process."""

    #: The machine that certwatch runs on.
    hostname: str
    version: str


def encoded(document: Document, origin: Origin) -> bytes:
    """One record: JSON without a newline, bounded, with an `event.id` that is the same for the same happening, so that
    what is sent twice can be known."""
    document["host"] = {"name": origin.hostname, "hostname": origin.hostname}
    document["service"] = {"name": "certwatch", "type": "certwatch", "version": origin.version}
    document = fitted(document)
    content = msgspec.json.encode(document)
    document["event"]["id"] = hashlib.sha256(content).hexdigest()[:32]
    return msgspec.json.encode(document)


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finding_document(action: str, finding: Finding, served: Served | None, now: datetime) -> Document:
    """`action`: "finding-opened", "finding-altered", "finding-resolved". `served`: what is known of the place."""
    certificate = _certificate(served, finding)
    document = _base(action, now, dataset="certwatch.finding", kind="alert")
    document["message"] = finding.summary
    document["event"] |= {
        "severity": SEVERITY_NUMBER[finding.severity],
        "start": instant(finding.opened_at),
        "reason": finding.text,
    }
    if finding.resolved_at is not None:
        document["event"]["end"] = instant(finding.resolved_at)
    document["rule"] = {"id": finding.rule, "name": finding.rule, "reference": finding.runbook}
    document |= _place(finding.location, served, certificate)
    document["certwatch"] |= {"severity": finding.severity, "owner": finding.owner}
    if finding.fingerprint is not None:
        document["certwatch"]["fingerprint_sha256"] = finding.fingerprint.hex()
    if finding.silence is not None:
        document["certwatch"]["silence"] = {
            "id": finding.silence.id,
            "author": finding.silence.author,
            "reason": finding.silence.reason,
            "until": instant(finding.silence.until),
        }
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
    if served.leaf is not None:
        document["certwatch"]["fingerprint_sha256"] = served.leaf.fingerprint_sha256.hex()
    return document


def lost_document(now: datetime) -> Document:
    """Some happenings were not told: this exporter was too slow, or failed."""
    document = _base("events-lost", now, dataset="certwatch.exporter", kind="pipeline_error")
    document["message"] = "events were lost before this one: certwatch could not keep up with what changed"
    document["event"]["outcome"] = "failure"
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


#: Fields of entries that are fields of events.
_OF_ENTRIES = (
    "serial",
    "request",
    "issuer",
    "profile",
    "requester",
    "submitter",
    "channel",
    "by",
    "reason",
    "names",
    "name",
)


def ledger_document(entry: LedgerEntry) -> Document:
    """The same for the same entry, whenever it is told."""
    document = _base(f"ca-{entry.kind}", entry.at, dataset="certwatch.ledger", kind="event")
    body = msgspec.json.decode(entry.data)
    document["event"]["outcome"] = "failure" if entry.kind in ("refusal", "failure") else "success"
    document["event"]["type"] = ["denied"] if entry.kind == "refusal" else ["info"]
    # Says all of it: what has no field of its own is there to be found.
    document["message"] = f"CA ledger {entry.position}: {entry.data.decode()}"
    document["certwatch"] = {
        "ledger": {"origin": entry.origin, "position": entry.position},
        "ca": {key: body[key] for key in _OF_ENTRIES if body.get(key) is not None},
    }
    return document


def _base(action: str, now: datetime, *, dataset: str, kind: str) -> Document:
    return {
        "@timestamp": instant(now),
        "ecs": {"version": ECS_VERSION},
        "event": {
            "kind": kind,
            "category": ["configuration"],
            # Pairs of category and type that ECS expects.
            "type": [_TYPES.get(action, "info")],
            "action": action,
            "created": instant(now),
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
        # A dot would make an object of a label, and of "app" and "app.kubernetes.io/name" a contradiction.
        fields["labels"] = {key.replace(".", "_"): value for key, value in served.location.labels.items()}
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
        for field, fact in (("cipher", "cipher"), ("curve", "group"), ("next_protocol", "alpn")):
            if served.facts.get(fact):
                tls[field] = str(served.facts[fact])
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
    if _is_address(endpoint.host):
        server["ip"] = endpoint.host
    if endpoint.server_name is not None:
        server["domain"] = endpoint.server_name
    return {"tls": tls, "server": server}


def _is_address(host: str) -> bool:
    """A zone ("fe80::1%eth0") is no part of what ECS calls an IP."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


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
        "public_key_exponent": _long(certificate.key.exponent),
    }
    return fields | {key: value for key, value in optional.items() if value is not None}


def _long(number: int | None) -> int | None:
    """None as well for a number that a certificate may hold and a "long" may not."""
    return number if number is not None and number <= LONGEST else None


def _attributes(name: str) -> Iterator[tuple[str, list[str]]]:
    """Attributes of an RFC 4514 string that ECS has fields for, each with all its values."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"(?<!\\)[,+]", name):
        key, _, value = part.partition("=")
        field = _ATTRIBUTES.get(key.strip().upper())
        if field is not None:
            found.setdefault(field, []).append(re.sub(r"\\([,+\"\\<>;= #])", r"\1", value))
    yield from found.items()
