"""How a statement about a certificate's revocation names what it is about."""

from datetime import UTC, datetime

from certwatch.model.observation import Fact
from collectors.revocation.wanted import Wanted


def about(wanted: Wanted) -> dict[str, Fact]:
    return {
        "certificate": wanted.certificate.fingerprint_sha256.hex(),
        "certificate_name": wanted.certificate.shown,
        "certificate_location": wanted.at.location.uri,
    }


def instant(at: datetime | None) -> str | None:
    """RFC 3339, Z."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
