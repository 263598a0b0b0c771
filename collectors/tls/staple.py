"""What a stapled OCSP response says, and whether it may be believed (RFC 6066, 8)."""

import base64
from datetime import UTC, datetime

from cryptography import x509

from certwatch.ct.scts import list_in_ocsp
from certwatch.model.observation import Fact
from certwatch.pki import ocsp
from certwatch.pki.signatures import signature
from certwatch.x509.der import read

#: Of a list of timestamps: what is longer is none.
MAX_TIMESTAMPS = 8192


def timestamp_facts(response: bytes) -> dict[str, Fact]:
    """The timestamps of CT logs in it. Whether the logs have signed them is found by who knows the logs."""
    found = list_in_ocsp(response)
    if not found or len(found) > MAX_TIMESTAMPS:
        return {}
    return {"staple_timestamps": base64.b64encode(found).decode()}


def staple_facts(response: bytes, chain: tuple[bytes, ...], now: datetime) -> dict[str, Fact]:
    """Checked against the issuer that is presented; without one nobody can tell, and only the status is said."""
    leaf = read(chain[0])
    issuer = next(
        (
            each
            for each in map(read, chain[1:])
            if each.subject_der == leaf.issuer_der and signature(leaf, each) == "good"
        ),
        None,
    )
    if issuer is None:
        return {}
    try:
        loaded = x509.load_der_x509_certificate(leaf.der), x509.load_der_x509_certificate(issuer.der)
    except (ValueError, x509.InvalidVersion):
        return {}
    answer = ocsp.check(response, *loaded, now)
    facts: dict[str, Fact] = {
        "staple_status": answer.status if answer.fault is None else None,
        # That it ends is the rules' to find, at the hour: a fact must not change by the clock alone.
        "staple_fault": answer.fault if answer.fault != "stale" else None,
        "staple_next_update": None
        if answer.next_update is None
        else answer.next_update.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    return {name: value for name, value in facts.items() if value is not None}
