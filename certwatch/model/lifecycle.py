"""The state of a certificate, derived from what is known and never stored."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from certwatch.model.certificate import Certificate
from certwatch.model.location import Standing

Validity = Literal["not-yet-valid", "valid", "expired", "unknown"]
Presence = Literal["served", "stored", "superseded", "retired", "issued"]


def validity(certificate: Certificate, now: datetime) -> Validity:
    """By its own dates, both inclusive (RFC 5280, 4.1.2.5)."""
    if certificate.not_before is None or certificate.not_after is None:
        return "unknown"
    if now < certificate.not_before:
        return "not-yet-valid"
    return "expired" if now > certificate.not_after else "valid"


def presence(*, lasting: Collection[Standing], ended: Collection[Standing], locations_live: int) -> Presence:
    """By how it stands where it is seen, and where it was. served: clients are shown it. stored: it lies in a file or a
    store, and nobody is seen to serve it. superseded: it is nowhere any more, and a place that had it has another now.
    retired: the places that had it are gone. issued: a CA's books or a log know of it, and it was never seen in use.

    `locations_live`: of the places where it was in use, those that are still there."""
    if "served" in lasting:
        return "served"
    if "stored" in lasting:
        return "stored"
    if all(each == "recorded" for each in ended):
        return "issued"
    return "superseded" if locations_live else "retired"
