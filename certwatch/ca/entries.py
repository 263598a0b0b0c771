"""What entries of the ledger say, by kind, as far as rows are held against it. Fields with a default are missing in entries of
older versions: what they would prove is not asked then."""

from collections.abc import Mapping

import msgspec


class Head(msgspec.Struct):
    kind: str
    at: int


class Request(msgspec.Struct):
    request: int
    approvals: int
    row: str | None = None


class Refusal(msgspec.Struct):
    request: int | None = None


class Approval(msgspec.Struct):
    request: int
    by: str


class Intent(msgspec.Struct):
    serial: str
    row: str | None = None


class Certificate(msgspec.Struct):
    serial: str
    sha256: str
    request: int | None = None


class Failure(msgspec.Struct):
    serial: str


class Revocation(msgspec.Struct):
    serial: str
    reason: str


class IssuerIntent(msgspec.Struct):
    name: str
    root: bool
    key: str
    environment: str = ""


class Issuer(msgspec.Struct):
    name: str
    sha256: str
    chain_sha256: str | None = None


class Rotation(msgspec.Struct):
    issuer: str
    successor: str


class Retirement(msgspec.Struct):
    issuer: str


class MadeCRL(msgspec.Struct):
    issuer: str
    partition: int
    number: int
    next_update: int
    sha256: str
    this_update: int | None = None
    base: int | None = None
    base_update: int | None = None
    delta_sha256: str | None = None


class Restored(msgspec.Struct):
    pass


class Responder(msgspec.Struct):
    issuer: str
    key: str
    serial: str


class Enrolled(msgspec.Struct):
    id: str
    #: Seconds.
    ends: int | None = None


class Binding(msgspec.Struct):
    kid: str
    event: str
    by: str
    secret_sha256: str | None = None


class Account(msgspec.Struct):
    account: int
    event: str
    key: str | None = None
    binding: str | None = None
    contacts: list[str] | None = None


class Validation(msgspec.Struct):
    account: int
    order: str
    name: str
    method: str | None
    outcome: str


class Called(msgspec.Struct):
    why: str
    serials: list[str] | None = None


Entry = (
    Request | Refusal | Approval | Intent | Certificate | Failure | Revocation | IssuerIntent | Issuer | Rotation
    | Retirement | MadeCRL | Restored | Responder | Enrolled | Binding | Account | Validation | Called
)  # fmt: skip

KINDS: Mapping[str, type[Entry]] = {
    "request": Request,
    "refusal": Refusal,
    "approval": Approval,
    "intent": Intent,
    "certificate": Certificate,
    "failure": Failure,
    "revocation": Revocation,
    "issuer-intent": IssuerIntent,
    "issuer": Issuer,
    "rotation": Rotation,
    "retirement": Retirement,
    "crl": MadeCRL,
    "restored": Restored,
    "responder": Responder,
    "enrolled": Enrolled,
    "acme-binding": Binding,
    "acme-account": Account,
    "acme-validation": Validation,
    "renew-now": Called,
}
