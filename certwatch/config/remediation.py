"""The keys of `remediation:`, as models: what may be renewed by itself, by whom it is issued, where it is put."""

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from certwatch.config.schema import NAME_PATTERN, Keys
from certwatch.plugins.duration import Duration


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class FreezeKeys(Keys):
    """Days on which nothing is begun, both included; what has begun is brought to its end."""

    from_: date = Field(alias="from")
    until: date


class VerifyKeys(Keys):
    """When a roll-out counts as done."""

    #: All places must serve the new certificate by then.
    within: Duration = timedelta(minutes=5)
    #: A command that must succeed as well.
    health: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)


class PolicyKeys(Keys):
    """What is renewed by itself: the first policy that fits a certificate counts."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    #: A condition (CEL) on a place where the certificate is. None: every one.
    when: str | None = None
    #: Findings that it acts on.
    rules: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)] = Field(
        default_factory=lambda: [
            "expiry",
            "renewal-window",
            "revoked",
            "compromised",
            "key-broken",
            "weak-key",
            "weak-signature",
        ]
    )
    #: `kind` and the issuer's own keys.
    issuer: dict[str, Any]
    #: Each `kind` and the deployer's own keys; the first that takes a place counts.
    deploy: Annotated[list[dict[str, Any]], Field(min_length=1)]
    #: automatic: nobody is asked. one, two: so many people approve; with two, who asks is not one of them.
    approve: Literal["automatic", "one", "two"] = "one"
    key_type: Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"] = "ec-p256"
    #: Of the new certificate, instead of the former one's: "dns:www.example.com". More than those needs a person.
    names: list[str] = Field(default_factory=list)
    verify: VerifyKeys = VerifyKeys()
    #: Revoke the former certificate when the new one is served everywhere. One whose key is compromised always is.
    revoke: bool = False
    #: A renewal for its nearing end alone begins at some instant within this time, each certificate at its own, so that
    #: what was issued together is not renewed together. One that has less than twice of it left begins at once.
    spread: Duration = timedelta(0)
    #: Label that names services: of one, one roll-out at a time. None: as many as `at_once` lets.
    service: Annotated[str, Field(min_length=1)] | None = None
    #: Roll-outs begun within an hour, by all policies with the same issuer.
    most_per_hour: Annotated[int, Field(ge=1, le=100_000)] = 20
    #: Tries of one certificate within a day; then a person must look.
    most_tries: Annotated[int, Field(ge=1, le=100)] = 3
    freeze: list[FreezeKeys] = Field(default_factory=list)


class RemediationKeys(Keys):
    """Renewing by itself. Off until a policy allows something."""

    #: Where its book is kept.
    directory: Annotated[str, Field(min_length=1)] | None = None
    policies: list[PolicyKeys] = Field(default_factory=list)
    #: How often the daemon looks for something to do, beside what it is told.
    every: Duration = timedelta(minutes=1)
    #: Roll-outs at once.
    at_once: Annotated[int, Field(ge=1, le=1000)] = 50
