"""What the ledger's entries say of the CA, added up: what its tables must have."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from certwatch.ca import entries

#: After a copy was put back, CRLs go on with numbers that are so much higher: some may have been made after the copy.
CRL_LEAP = 100_000

#: Of a CRL: its issuer, and which of its partitions.
Part = tuple[str, int]


@dataclass(slots=True)
class _Issuer:
    root: bool
    key: str
    environment: str
    sha256: str | None = None
    chain_sha256: str | None = None
    successor: str | None = None
    retired: int | None = None


@dataclass(slots=True)
class _Account:
    key: str
    binding: str | None
    contacts: list[str]
    status: str = "valid"


@dataclass(slots=True)
class _Binding:
    secret_sha256: str | None
    by: str
    ended: int | None = None


@dataclass(slots=True)
class Said:
    """Fed with all entries in order by `take`, then held against the tables (`audit_rows`)."""

    last: int = 0
    requests: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    issued: set[int] = field(default_factory=set)
    approvals: dict[tuple[int, str], int] = field(default_factory=dict)
    intents: dict[str, str | None] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    #: Reason and when.
    revocations: dict[str, tuple[str, int]] = field(default_factory=dict)
    issuers: dict[str, _Issuer] = field(default_factory=dict)
    crls: dict[Part, entries.MadeCRL] = field(default_factory=dict)
    deltas: dict[Part, entries.MadeCRL] = field(default_factory=dict)
    responders: dict[str, entries.Responder] = field(default_factory=dict)
    enrolled: dict[str, int | None] = field(default_factory=dict)
    bindings: dict[str, _Binding] = field(default_factory=dict)
    accounts: dict[int, _Account] = field(default_factory=dict)
    validations: dict[tuple[str, str], entries.Validation] = field(default_factory=dict)
    called: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Entries of an older version call certificates without naming them.
    called_unnamed: bool = False

    def take(self, said: entries.Entry, at: int) -> None:
        take = _TAKE.get(type(said))
        if take is not None:
            take(self, said, at)


def _request(self: Said, said: entries.Request, at: int) -> None:
    self.requests[said.request] = (said.approvals, said.row)


def _refusal(self: Said, said: entries.Refusal, at: int) -> None:
    if said.request is not None:
        self.refused.add(said.request)


def _approval(self: Said, said: entries.Approval, at: int) -> None:
    self.approvals[said.request, said.by] = at


def _intent(self: Said, said: entries.Intent, at: int) -> None:
    self.intents[said.serial] = said.row


def _certificate(self: Said, said: entries.Certificate, at: int) -> None:
    self.certificates[said.serial] = said.sha256
    if said.request is not None:
        self.issued.add(said.request)


def _failure(self: Said, said: entries.Failure, at: int) -> None:
    self.failures.add(said.serial)


def _revocation(self: Said, said: entries.Revocation, at: int) -> None:
    self.revocations[said.serial] = (said.reason, at)


def _issuer_intent(self: Said, said: entries.IssuerIntent, at: int) -> None:
    self.issuers[said.name] = _Issuer(root=said.root, key=said.key, environment=said.environment)


def _issuer(self: Said, said: entries.Issuer, at: int) -> None:
    issuer = self.issuers.get(said.name)
    if issuer is not None:
        issuer.sha256, issuer.chain_sha256 = said.sha256, said.chain_sha256


def _rotation(self: Said, said: entries.Rotation, at: int) -> None:
    if said.issuer in self.issuers:
        self.issuers[said.issuer].successor = said.successor


def _retirement(self: Said, said: entries.Retirement, at: int) -> None:
    if said.issuer in self.issuers:
        self.issuers[said.issuer].retired = at


def _crl(self: Said, said: entries.MadeCRL, at: int) -> None:
    part = (said.issuer, said.partition)
    self.crls[part] = said
    if said.delta_sha256 is not None:
        self.deltas[part] = said


def _restored(self: Said, said: entries.Restored, at: int) -> None:
    for crl in self.crls.values():
        crl.number += CRL_LEAP
    self.deltas.clear()


def _responder(self: Said, said: entries.Responder, at: int) -> None:
    self.responders[said.issuer] = said


def _enrolled(self: Said, said: entries.Enrolled, at: int) -> None:
    self.enrolled[said.id] = said.ends


def _binding(self: Said, said: entries.Binding, at: int) -> None:
    if said.event == "created":
        self.bindings[said.kid] = _Binding(said.secret_sha256, said.by)
        return
    if said.kid in self.bindings:
        self.bindings[said.kid].ended = at
    for account in self.accounts.values():
        if account.binding == said.kid:
            account.status = "deactivated"


def _account(self: Said, said: entries.Account, at: int) -> None:
    if said.event == "created":
        self.accounts[said.account] = _Account(said.key or "", said.binding, said.contacts or [])
        return
    account = self.accounts.get(said.account)
    if account is None:
        return
    if said.event == "contacts":
        account.contacts = said.contacts or []
    elif said.event == "deactivated":
        account.status = "deactivated"
    elif said.event == "key":
        account.key = said.key or ""


def _validation(self: Said, said: entries.Validation, at: int) -> None:
    self.validations[said.order, said.name] = said


def _called(self: Said, said: entries.Called, at: int) -> None:
    self.called_unnamed |= said.serials is None
    for serial in said.serials or ():
        self.called.setdefault(serial, (at, said.why))


_TAKE: dict[type, Callable[[Said, Any, int], None]] = {
    entries.Request: _request,
    entries.Refusal: _refusal,
    entries.Approval: _approval,
    entries.Intent: _intent,
    entries.Certificate: _certificate,
    entries.Failure: _failure,
    entries.Revocation: _revocation,
    entries.IssuerIntent: _issuer_intent,
    entries.Issuer: _issuer,
    entries.Rotation: _rotation,
    entries.Retirement: _retirement,
    entries.MadeCRL: _crl,
    entries.Restored: _restored,
    entries.Responder: _responder,
    entries.Enrolled: _enrolled,
    entries.Binding: _binding,
    entries.Account: _account,
    entries.Validation: _validation,
    entries.Called: _called,
}
