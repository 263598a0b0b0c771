"""What conditions may speak of: names, and how their values are made of the model.

A value that is not known (unreadable, not given) is absent: `has(cert.key.bits)` asks for it, and a condition that
needs it does not hold.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from certwatch.model.certificate import Certificate
from certwatch.model.location import Location
from certwatch.model.observation import Fact

Scope = Literal["owner", "rule", "list", "silence", "route", "findings"]

#: Any key may follow.
FREE: Mapping[str, Any] = {"*": None}

#: Fields of `cert`. A mapping: it has fields of its own.
CERTIFICATE: Mapping[str, Any] = {
    "fingerprint_sha256": None,
    "spki_sha256": None,
    "subject": None,
    "issuer": None,
    "serial_number": None,
    "not_before": None,
    "not_after": None,
    "lifetime": None,
    "names": None,
    "key": {"type": None, "bits": None, "curve": None, "exponent": None},
    "signature_algorithm": None,
    "is_ca": None,
    "is_self_issued": None,
    "key_usage": None,
    "extended_key_usage": None,
    "ocsp_urls": None,
    "issuer_urls": None,
    "crl_urls": None,
    "must_staple": None,
    "problems": None,
}

#: Fields of `finding`, as long as it lives.
_FINDING: Mapping[str, Any] = {"rule": None, "severity": None, "summary": None, "owner": None}

_LOCATION: Mapping[str, Any] = {"uri": None, "kind": None, "labels": FREE, "collectors": None}

_OF_FINDING: Mapping[str, Any] = {
    "finding": _FINDING,
    "cert": CERTIFICATE,
    "chain": None,
    "location": {**_LOCATION, "facts": FREE, "owner": None},
}

#: By the place where a condition stands: its variables with their fields. What may change without the location
#: changing (`now`) is not for owners, rules, silences and routes: nobody would ask them again.
VARIABLES: Mapping[Scope, Mapping[str, Any]] = {
    "owner": {"cert": CERTIFICATE, "chain": None, "location": {**_LOCATION, "facts": FREE}},
    "rule": {
        "cert": CERTIFICATE,
        "chain": None,
        "location": {**_LOCATION, "facts": FREE, "owner": None, "trusted_by": None},
    },
    "list": {
        "cert": CERTIFICATE,
        "location": {**_LOCATION, "owner": None, "error": None},
        "now": None,
    },
    "silence": _OF_FINDING,
    "route": _OF_FINDING,
    "findings": {
        "finding": {**_FINDING, "opened_at": None, "resolved_at": None, "silenced": None},
        "cert": CERTIFICATE,
        "chain": None,
        "location": {**_LOCATION, "facts": FREE, "owner": None, "error": None},
        "now": None,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a condition is asked about."""

    #: None: no certificate is known there; what needs one does not hold.
    certificate: Certificate | None
    #: None: nowhere; what needs a location does not hold.
    location: Location | None
    #: As presented, leaf first.
    chain: tuple[Certificate, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    collectors: tuple[str, ...] = ()
    owner: str = ""
    #: Error kind of the last look. Empty: it went well.
    error: str = ""
    #: Fields of `finding`. Empty: there is none.
    finding: Mapping[str, object] = field(default_factory=dict)
    #: Aware UTC. None: the condition may not depend on it.
    now: datetime | None = None
    #: Names of the trust stores that accept the chain; asked where a condition reads it.
    trusted_by: Callable[[], Iterable[str]] = tuple


_CERTIFICATE_VALUES: Mapping[str, Callable[[Certificate], object]] = {
    "fingerprint_sha256": lambda it: it.fingerprint_sha256.hex(),
    "spki_sha256": lambda it: it.spki_sha256.hex() if it.spki_sha256 is not None else None,
    "subject": lambda it: it.subject,
    "issuer": lambda it: it.issuer,
    "serial_number": lambda it: it.serial_hex or None,
    "not_before": lambda it: it.not_before,
    "not_after": lambda it: it.not_after,
    "lifetime": lambda it: it.lifetime,
    "names": lambda it: list(it.names),
    "key": lambda it: _known(
        type=it.key.type, bits=it.key.bits, curve=it.key.curve, exponent=_int64(it.key.exponent)
    ),
    "signature_algorithm": lambda it: it.signature_algorithm,
    "is_ca": lambda it: it.is_ca,
    "is_self_issued": lambda it: it.is_self_issued,
    "key_usage": lambda it: sorted(it.key_usage) if it.key_usage is not None else None,
    "extended_key_usage": lambda it: (
        list(it.extended_key_usage) if it.extended_key_usage is not None else None
    ),
    "ocsp_urls": lambda it: list(it.ocsp_urls),
    "issuer_urls": lambda it: list(it.issuer_urls),
    "crl_urls": lambda it: list(it.crl_urls),
    "must_staple": lambda it: it.must_staple,
    "problems": lambda it: list(it.problems),
}


def _known(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _int64(value: int | None) -> int | None:
    """CEL's integers have 64 bits; a larger exponent counts as not known."""
    return value if value is not None and -(1 << 63) <= value < 1 << 63 else None


def certificate_value(certificate: Certificate, wanted: frozenset[str] | None = None) -> dict[str, object]:
    """`cert`, or only those of its fields. None: all."""
    return {
        name: value
        for name in (_CERTIFICATE_VALUES if wanted is None else wanted)
        if (value := _CERTIFICATE_VALUES[name](certificate)) is not None
    }


_LOCATION_VALUES: Mapping[str, Callable[[Subject, Location], object]] = {
    "uri": lambda _, location: location.uri,
    "kind": lambda _, location: location.kind,
    "labels": lambda _, location: dict(location.labels),
    "collectors": lambda subject, _: list(subject.collectors),
    "facts": lambda subject, _: _known(**subject.facts),
    "owner": lambda subject, _: subject.owner,
    "error": lambda subject, _: subject.error,
    "trusted_by": lambda subject, _: list(subject.trusted_by()),
}


def variables(subject: Subject, wanted: Mapping[str, frozenset[str] | None]) -> dict[str, object]:
    """Values of the wanted variables, with those of their fields (None: all); what is not known is absent."""
    values: dict[str, object] = {}
    if "cert" in wanted and subject.certificate is not None:
        values["cert"] = certificate_value(subject.certificate, wanted["cert"])
    if "chain" in wanted:
        values["chain"] = [certificate_value(each) for each in subject.chain]
    if "location" in wanted and subject.location is not None:
        fields = wanted["location"]
        values["location"] = {
            name: _LOCATION_VALUES[name](subject, subject.location)
            for name in (_LOCATION_VALUES if fields is None else fields)
        }
    if "finding" in wanted and subject.finding:
        values["finding"] = dict(subject.finding)
    if "now" in wanted and subject.now is not None:
        values["now"] = subject.now
    return values
