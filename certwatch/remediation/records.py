"""What the book has of a roll-out: the plan with its steps and approvals, and the incident that it belongs to."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from certwatch.model.certificate import Fingerprint
from certwatch.remediation.plan import StepKind

PlanState = Literal[
    "waiting",
    "approved",
    "running",
    "verifying",
    "rolling-back",
    "verified",
    "rolled-back",
    "failed",
    "withdrawn",
]
StepState = Literal["todo", "doing", "done", "failed", "undone"]
ACTIVE: tuple[PlanState, ...] = ("waiting", "approved", "running", "verifying", "rolling-back")
#: Something of it may have been done.
BEGUN: tuple[PlanState, ...] = ("running", "verifying", "rolling-back")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    place: int
    kind: StepKind
    #: URI. Empty: none.
    target: str
    #: Which of the policy's deployers. None: the step is no deployment.
    deployer: int | None
    state: StepState
    began: datetime | None
    ended: datetime | None
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    person: str
    at: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    id: int
    created: datetime
    policy: str
    cause: tuple[str, ...]
    former: Fingerprint
    title: str
    names: tuple[str, ...]
    #: URIs that must serve the new one in the end.
    served: tuple[str, ...]
    by: str
    needed: int
    drill: bool
    incident: int | None
    state: PlanState
    began: datetime | None
    ended: datetime | None
    #: PEM. None: nothing was issued yet.
    chain: bytes | None
    not_before_try: datetime | None
    tries: int
    why: str
    #: Certificates that were asked for. More than tries: a crash lost the key of one.
    orders: int
    #: One at a time of those that have the same. Empty: none.
    service: str
    steps: tuple[Step, ...]
    approvals: tuple[Approval, ...]

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    id: int
    at: datetime
    about: str
    by: str
    why: str
    drill: bool
    ended: datetime | None
