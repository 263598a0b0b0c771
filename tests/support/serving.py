"""Locations as the rules see them, built from throw-away certificates."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from certwatch.model.location import Location, LocationURI, tls_location
from certwatch.model.sighting import Served
from certwatch.model.silence import Silence, SilenceID
from certwatch.pki.trust import TrustStore
from certwatch.plugins.rule import World
from certwatch.plugins.testing import EPOCH, Issued, make_ca
from certwatch.x509.der import read

ROOT = make_ca()
INTERMEDIATE = make_ca("Test Intermediate", issuer=ROOT, key_number=101)
ENDPOINT = tls_location("192.0.2.1", 443, server_name="www.example.com")
#: The world of these tests has one store with one root.
TRUST = {"corp": TrustStore.from_certificates("corp", [read(ROOT.der)])}


def served(chain: Sequence[Issued | bytes], *, uri: LocationURI = ENDPOINT, **fields: Any) -> Served:
    """A location that served this chain at the epoch."""
    values: dict[str, Any] = {
        "id": 1,
        "location": Location(uri=uri),
        "collectors": ("edge",),
        "chain": tuple(read(each if isinstance(each, bytes) else each.der) for each in chain),
        "facts": {},
        "error": None,
        "failing_since": None,
        "first_seen": EPOCH,
        "last_seen": EPOCH,
        "last_served": EPOCH if chain else None,
        "retired_at": None,
    }
    return Served(**(values | fields))


def world(now: datetime = EPOCH) -> World:
    return World(now=now, trust=TRUST)


SILENCE = Silence(
    id=SilenceID(12),
    covers="true",
    until=EPOCH + timedelta(days=7),
    author="ada",
    reason="moves on Friday",
    created_at=EPOCH,
)
