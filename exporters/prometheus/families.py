"""Every metric of certificates and locations: name, help and labels in one table, read by code, docs and tests."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    name: str
    help: str
    labels: tuple[str, ...]
    #: "info" is a gauge that is always 1 in the text format, and a type of its own in OpenMetrics.
    type: Literal["gauge", "info", "counter"] = "gauge"


NOT_AFTER = Family(
    name="certwatch_certificate_not_after_timestamp_seconds",
    help="End of validity of a certificate seen at a location; the last one seen while looks fail.",
    labels=("location", "position", "fingerprint_sha256", "name", "owner", "environment", "collector"),
)
UP = Family(
    name="certwatch_location_up",
    help="1: the last look at the location went well. 0: it failed, by the error's kind.",
    labels=("location", "owner", "environment", "collector", "error"),
)
FAILING_SINCE = Family(
    name="certwatch_location_failing_since_timestamp_seconds",
    help="First look of the present run of failed looks. Absent: the last look went well.",
    labels=("location",),
)
LAST_SERVED = Family(
    name="certwatch_location_last_served_timestamp_seconds",
    help="While looks fail: when a certificate was last seen there, the age of what else is said of it.",
    labels=("location",),
)
CRL_NEXT_UPDATE = Family(
    name="certwatch_crl_next_update_timestamp_seconds",
    help="By when there is to be a newer CRL than the one seen at a location; the last one seen while looks fail.",
    labels=("location", "issuer", "owner", "environment", "collector"),
)
NOT_BEFORE = Family(
    name="certwatch_certificate_not_before_timestamp_seconds",
    help="Beginning of validity of a certificate.",
    labels=("fingerprint_sha256",),
)
INFO = Family(
    name="certwatch_certificate_info",
    help="What a certificate says; join it by fingerprint_sha256.",
    labels=(
        "fingerprint_sha256",
        "subject",
        "issuer",
        "serial_number",
        "names",
        "key_type",
        "key_bits",
        "signature_algorithm",
        "is_ca",
    ),
    type="info",
)
LOCATIONS = Family(
    name="certwatch_locations",
    help="Locations that are watched.",
    labels=("owner", "environment", "collector"),
)
LOCATIONS_FAILING = Family(
    name="certwatch_locations_failing",
    help="Locations whose last look failed.",
    labels=("owner", "environment", "collector"),
)
CERTIFICATES = Family(
    name="certwatch_certificates",
    help="Different certificates seen at locations.",
    labels=("owner", "environment", "collector"),
)
EARLIEST = Family(
    name="certwatch_expiry_earliest_timestamp_seconds",
    help="Earliest end of validity of a leaf. presence: served (seen at an endpoint) or stored (in a file or store).",
    labels=("owner", "environment", "presence"),
)
FINDINGS = Family(
    name="certwatch_findings_open",
    help="Open findings that nobody has silenced.",
    labels=("rule", "severity", "owner"),
)
SILENCED = Family(
    name="certwatch_findings_silenced",
    help="Open findings under a silence.",
    labels=("rule", "severity", "owner"),
)
OLDEST = Family(
    name="certwatch_findings_oldest_timestamp_seconds",
    help="When the oldest of these open findings was opened, silenced or not.",
    labels=("rule", "severity", "owner"),
)
LAST_SCAN = Family(
    name="certwatch_collector_last_scan_timestamp_seconds",
    help="When the collector's last scan ended, and how.",
    labels=("collector", "status"),
)

#: One series or more for each certificate or location.
PER_CERTIFICATE = (NOT_AFTER, UP, FAILING_SINCE, LAST_SERVED, CRL_NEXT_UPDATE, NOT_BEFORE, INFO)
AGGREGATES = (LOCATIONS, LOCATIONS_FAILING, CERTIFICATES, EARLIEST, FINDINGS, SILENCED, OLDEST, LAST_SCAN)
FAMILIES = PER_CERTIFICATE + AGGREGATES
