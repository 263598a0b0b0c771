"""The state of a certificate, derived from what is known and never stored."""

from datetime import datetime
from typing import Literal

from certwatch.model.certificate import Certificate

Validity = Literal["not-yet-valid", "valid", "expired", "unknown"]
Presence = Literal["served", "superseded", "retired", "issued"]


def validity(certificate: Certificate, now: datetime) -> Validity:
    """By its own dates, both inclusive (RFC 5280, 4.1.2.5)."""
    if certificate.not_before is None or certificate.not_after is None:
        return "unknown"
    if now < certificate.not_before:
        return "not-yet-valid"
    return "expired" if now > certificate.not_after else "valid"


def presence(*, open_sightings: int, ended_sightings: int, locations_live: int) -> Presence:
    """served: some location serves it. superseded: none does, and a location that did now serves another.
    retired: the locations that did are gone. issued: known, but never seen at a location that serves."""
    if open_sightings:
        return "served"
    if not ended_sightings:
        return "issued"
    return "superseded" if locations_live else "retired"
