"""What programs read, by whatever way: the shapes of JSON on the command line and in the HTTP API.

They are a contract: add to them, change nothing. The types are the API's schemas as well (certwatch/web/api), so that
the document cannot say anything else than what is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from certwatch.inventory.store import Entry, Place
from certwatch.model.certificate import Certificate
from certwatch.model.finding import Finding, Severity
from certwatch.model.instants import iso
from certwatch.model.lifecycle import Presence, Validity
from certwatch.model.observation import ErrorKind, Fact, LookError, Observation, Scan, ScanStatus
from certwatch.model.sighting import Served, Sighting
from certwatch.model.silence import Matter, Silence


@dataclass(frozen=True, slots=True)
class Told:
    """What a field's type does not say, for the JSON Schema."""

    description: str = ""
    format: str = ""


Instant = Annotated[str, Told(format="date-time")]
Hex = Annotated[str, Told("SHA-256, lower-case hex")]


class KeyJSON(TypedDict):
    """A public key."""

    type: str
    bits: int | None
    curve: str | None


class CertificateJSON(TypedDict):
    """A certificate, as far as it could be read."""

    fingerprint_sha256: Hex
    subject: Annotated[str, Told("RFC 4514")]
    issuer: Annotated[str, Told("RFC 4514")]
    serial_number: Annotated[str, Told("lower-case hex; empty: unreadable")]
    not_before: Annotated[Instant | None, Told("null: unreadable")]
    not_after: Annotated[Instant | None, Told("null: unreadable")]
    names: Annotated[list[str], Told('"dns:…", "ip:…", "email:…", "uri:…"')]
    key: KeyJSON
    signature_algorithm: str
    is_ca: bool


class ErrorJSON(TypedDict):
    """Why a look saw nothing, or not everything."""

    kind: ErrorKind
    message: str


class ObservationJSON(TypedDict):
    location: str
    observed_at: Instant | None
    error: ErrorJSON | None
    chain: list[CertificateJSON]
    facts: dict[str, Fact]


class SilenceJSON(TypedDict):
    """Somebody took note of a finding: nobody is told of it until then."""

    id: int
    condition: Annotated[str | None, Told("CEL; null: one matter")]
    rule: Annotated[str | None, Told("of the matter; null: a condition")]
    location: str | None
    fingerprint_sha256: str | None
    until: Instant | None
    author: str
    reason: str
    created_at: Instant | None
    ended_at: Annotated[Instant | None, Told("before its time; null: it was not")]


class FindingJSON(TypedDict):
    """What a rule says of a certificate at a location."""

    id: int
    rule: str
    severity: Severity
    location: str
    fingerprint_sha256: Annotated[str | None, Told("null: it concerns the location")]
    summary: str
    text: Annotated[str, Told("why it matters, what to do")]
    runbook: str
    owner: Annotated[str, Told("the team; empty: nobody")]
    opened_at: Instant | None
    resolved_at: Annotated[Instant | None, Told("null: open")]
    silence: Annotated[SilenceJSON | None, Told("null: whoever should be told is")]


class PlaceJSON(TypedDict):
    """A location as it concerns one certificate."""

    location: str
    position: Annotated[int, Told("in the chain, 0: leaf")]
    first_seen: Instant | None
    last_seen: Instant | None
    ended_at: Annotated[Instant | None, Told("null: still there")]
    owner: str
    collectors: list[str]
    labels: dict[str, str]
    error: ErrorJSON | None


class EntryJSON(CertificateJSON):
    """A certificate with where it is."""

    validity: Validity
    presence: Presence
    first_seen: Instant | None
    last_seen: Instant | None
    locations: Annotated[int, Told("how many have, or had, it: as far as they were counted")]
    more_locations: Annotated[bool, Told("true: after 10,000 or so it was not counted on")]
    places: Annotated[list[PlaceJSON], Told("live ones first, 1000 at most")]


class CertificateShown(EntryJSON):
    """A certificate with where it is and what is wrong with it."""

    findings: list[FindingJSON]


class SightingJSON(TypedDict):
    """A span in which a location served a certificate."""

    fingerprint_sha256: Hex
    subject: str
    not_after: Instant | None
    position: int
    first_seen: Instant | None
    last_seen: Instant | None
    ended_at: Instant | None


class LocationJSON(TypedDict):
    """What is known of a location."""

    location: str
    labels: dict[str, str]
    owner: str
    collectors: list[str]
    first_seen: Instant | None
    last_seen: Annotated[Instant | None, Told("last look, whatever came of it")]
    last_served: Annotated[Instant | None, Told("last look that saw something; null: none did")]
    retired_at: Annotated[Instant | None, Told("null: live")]
    error: ErrorJSON | None
    failing_since: Instant | None
    facts: dict[str, Fact]
    chain: Annotated[list[CertificateJSON], Told("as last presented, leaf first")]
    history: Annotated[list[SightingJSON], Told("newest first")]
    findings: list[FindingJSON]


class ScanJSON(TypedDict):
    """One run of one collector."""

    collector: str
    status: ScanStatus
    started_at: Instant | None
    finished_at: Instant | None
    observations: int
    errors: Annotated[int, Told("observations that were errors")]
    error: ErrorJSON | None


class RuleJSON(TypedDict):
    """One thing that is checked."""

    id: str
    title: str
    severity: Annotated[Severity, Told("the gravest it says")]
    source: str
    runbook: str


class RuleListed(RuleJSON):
    checked: Annotated[bool, Told("false: switched off by the config")]


class RuleExplained(RuleListed):
    why: str
    fix: str
    settings: dict[str, Any]


def certificate_json(certificate: Certificate) -> CertificateJSON:
    key = certificate.key
    return {
        "fingerprint_sha256": certificate.fingerprint_sha256.hex(),
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial_number": certificate.serial_hex,
        "not_before": iso(certificate.not_before),
        "not_after": iso(certificate.not_after),
        "names": list(certificate.names),
        "key": {"type": key.type, "bits": key.bits, "curve": key.curve},
        "signature_algorithm": certificate.signature_algorithm,
        "is_ca": certificate.is_ca,
    }


def error_json(error: LookError | None) -> ErrorJSON | None:
    return None if error is None else {"kind": error.kind, "message": error.message}


def observation_json(observation: Observation, chain: Sequence[Certificate]) -> ObservationJSON:
    return {
        "location": observation.location,
        "observed_at": iso(observation.observed_at),
        "error": error_json(observation.error),
        "chain": [certificate_json(each) for each in chain],
        "facts": dict(observation.facts),
    }


def silence_json(silence: Silence) -> SilenceJSON:
    matter = silence.covers if isinstance(silence.covers, Matter) else None
    return {
        "id": silence.id,
        "condition": None if isinstance(silence.covers, Matter) else silence.covers,
        "rule": matter.rule if matter is not None else None,
        "location": matter.location if matter is not None else None,
        "fingerprint_sha256": matter.fingerprint.hex()
        if matter is not None and matter.fingerprint is not None
        else None,
        "until": iso(silence.until),
        "author": silence.author,
        "reason": silence.reason,
        "created_at": iso(silence.created_at),
        "ended_at": iso(silence.ended_at),
    }


def finding_json(finding: Finding) -> FindingJSON:
    return {
        "id": finding.id,
        "rule": finding.rule,
        "severity": finding.severity,
        "location": finding.location,
        "fingerprint_sha256": finding.fingerprint.hex() if finding.fingerprint is not None else None,
        "summary": finding.summary,
        "text": finding.text,
        "runbook": finding.runbook,
        "owner": finding.owner,
        "opened_at": iso(finding.opened_at),
        "resolved_at": iso(finding.resolved_at),
        "silence": silence_json(finding.silence) if finding.silence is not None else None,
    }


def place_json(place: Place) -> PlaceJSON:
    return {
        "location": place.location,
        "position": place.position,
        "first_seen": iso(place.first_seen),
        "last_seen": iso(place.last_seen),
        "ended_at": iso(place.ended_at),
        "owner": place.owner,
        "collectors": list(place.collectors),
        "labels": dict(place.labels),
        "error": error_json(place.error),
    }


def entry_json(entry: Entry) -> EntryJSON:
    return {
        **certificate_json(entry.certificate),
        "validity": entry.validity,
        "presence": entry.presence,
        "first_seen": iso(entry.first_seen),
        "last_seen": iso(entry.last_seen),
        "locations": entry.locations,
        "more_locations": entry.more,
        "places": [place_json(each) for each in entry.places],
    }


def certificate_shown(entry: Entry, findings: Sequence[Finding]) -> CertificateShown:
    return {**entry_json(entry), "findings": [finding_json(each) for each in findings]}


def location_json(served: Served, history: Sequence[Sighting], findings: Sequence[Finding]) -> LocationJSON:
    return {
        "location": served.location.uri,
        "labels": dict(served.location.labels),
        "owner": served.owner,
        "collectors": list(served.collectors),
        "first_seen": iso(served.first_seen),
        "last_seen": iso(served.last_seen),
        "last_served": iso(served.last_served),
        "retired_at": iso(served.retired_at),
        "error": error_json(served.error),
        "failing_since": iso(served.failing_since),
        "facts": dict(served.facts),
        "chain": [certificate_json(each) for each in served.chain],
        "history": [
            {
                "fingerprint_sha256": each.certificate.fingerprint_sha256.hex(),
                "subject": each.certificate.subject,
                "not_after": iso(each.certificate.not_after),
                "position": each.position,
                "first_seen": iso(each.first_seen),
                "last_seen": iso(each.last_seen),
                "ended_at": iso(each.ended_at),
            }
            for each in history
        ],
        "findings": [finding_json(each) for each in findings],
    }


def scan_json(scan: Scan) -> ScanJSON:
    return {
        "collector": scan.collector,
        "status": scan.status,
        "started_at": iso(scan.started_at),
        "finished_at": iso(scan.finished_at),
        "observations": scan.observations,
        "errors": scan.errors,
        "error": error_json(scan.error),
    }
