"""What a linter finds in a certificate: a rule of the format that it breaks."""

from dataclasses import dataclass
from typing import Literal

#: "rfc5280": any certificate; "cabf-tls": the Baseline Requirements, for what browsers trust.
Profile = Literal["rfc5280", "cabf-tls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    profile: Profile
    #: error: a MUST is broken; warning: a SHOULD.
    severity: Literal["error", "warning"]
    #: As the linter names it: "pkix.certificate_serial_number_out_of_range".
    code: str
    #: What it says of this certificate. May be empty.
    message: str
