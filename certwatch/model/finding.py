"""What a rule says of a certificate at a location."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType

from certwatch.model.certificate import Fingerprint
from certwatch.model.location import LocationURI
from certwatch.model.silence import Silence

Severity = Literal["page", "ticket", "info"]
#: Gravest first.
SEVERITIES: tuple[Severity, ...] = ("page", "ticket", "info")

FindingID = NewType("FindingID", int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a rule found, before the engine gives it its life. At most one for each rule, location and
    certificate: a second is another summary of the same."""

    severity: Severity
    #: None: it concerns the location, not one certificate.
    fingerprint: Fingerprint | None
    #: One line, a subject: names the certificate. Holds no text that changes while the matter does not (no
    #: "in 3 days"): absolute times only.
    summary: str
    #: Why it matters to you, and what to do; a few sentences.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem with its life: open until the rule no longer says so."""

    id: FindingID
    rule: str
    severity: Severity
    location: LocationURI
    fingerprint: Fingerprint | None
    summary: str
    text: str
    runbook: str
    #: The team that answers for the location. Empty: nobody does.
    owner: str
    opened_at: datetime
    #: None: still open.
    resolved_at: datetime | None
    #: Somebody has taken note of it: nobody is told of it until then. None: nobody has.
    silence: Silence | None = None

    @property
    def is_told(self) -> bool:
        """Open, and not silenced."""
        return self.resolved_at is None and self.silence is None
