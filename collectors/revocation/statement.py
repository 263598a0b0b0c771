"""How a statement about a certificate's revocation names what it is about."""

from datetime import UTC, datetime

from certwatch.model.observation import Fact
from collectors.revocation.wanted import Wanted


def about(wanted: Wanted) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "certificate": wanted.certificate.fingerprint_sha256.hex(),
        "certificate_name": wanted.certificate.shown,
        "certificate_location": wanted.at.location.uri,
    }
    if wanted.revoked is not None:
        facts["certificate_ca_status"] = "revoked"
        facts["certificate_ca_revoked_at"] = wanted.revoked.facts.get("revoked_at") or instant(
            wanted.revoked.first_seen
        )
    return facts


def instant(at: datetime | None) -> str | None:
    """RFC 3339, Z."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
