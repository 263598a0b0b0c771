"""What may be asked: one model an operation. It checks the query string and is the document's list of parameters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from starlette.datastructures import QueryParams

from certwatch.model.finding import Severity
from certwatch.model.instants import parse_instant
from certwatch.plugins.duration import parse_duration

#: Items of one answer. Places of certificates are bounded apart (`operations.MAX_PLACES`).
MAX_LIMIT = 500

#: Fewer than this many digits say too little.
FINGERPRINT = r"^[0-9a-fA-F]{8,64}$"


class BadParameters(Exception):
    """A query string that asks nothing. The message names each parameter, and says why."""


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _whole(value: object) -> object:
    """As the document says: digits, no "1_000", " 7 " or "1e3"."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 20):
        raise ValueError("must be a whole number")
    return value


def _duration(value: object) -> timedelta:
    duration = parse_duration(value)
    if duration < timedelta(0):
        raise ValueError("a duration cannot be negative")
    return duration


def _instant(value: object) -> object:
    return parse_instant(value) if isinstance(value, str) else value


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Text = Annotated[str, Field(max_length=500)]
#: Words of JSON alone.
Flag = Annotated[
    bool,
    BeforeValidator(_flag),
    Field(strict=True),
    WithJsonSchema({"type": "string", "enum": ["true", "false"]}),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_whole)]
Moment = Annotated[
    datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
Span = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,4}(s|m|h|d)$"}),
]
Condition = Annotated[
    str, Field(max_length=2000), WithJsonSchema({"type": "string", "maxLength": 2000, "format": "cel"})
]


class Nothing(Parameters):
    """No parameter."""


class CertificatesAsked(Parameters):
    q: Text | None = Field(
        None,
        description="A name (*.example.com is that and everything below), a part of a subject, a serial number,"
        " a fingerprint or its beginning, a location or its beginning",
    )
    where: Condition | None = Field(None, description='A condition in CEL: cert.key.type == "rsa"')
    at: Moment | None = Field(None, description="What was served then")
    expiring_in: Span | None = Field(None, description="Valid, and not for longer than this: 30d")
    expired: Flag = Field(False, description="Expired ones alone; not together with expiring_in")
    owner: Text | None = Field(None, description="At a location that this team answers for")
    collector: Text | None = Field(None, description="At a location that this collector watches")
    issuer: Text | None = Field(None, description="A part of the issuer's name")
    sort: Literal["not_after", "not_before", "subject", "issuer", "first_seen", "locations"] = Field(
        "not_after", description="What to sort by"
    )
    reverse: Flag = Field(False, description="Last first")
    limit: Limit = Field(
        100, description="At most so many; an answer may have fewer, `next` says whether there are more"
    )
    cursor: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="`next` of the answer before"
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.expired and self.expiring_in is not None:
            raise ValueError("expired and expiring_in: choose one")
        return self


class FindingsAsked(Parameters):
    severity: Severity | None = Field(None, description="Of this severity")
    rule: Text | None = Field(None, description="Of this rule")
    owner: Text | None = Field(None, description="Of this team; empty: of nobody")
    location: Annotated[str, Field(max_length=8000)] | None = Field(None, description="At this location")
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="About this certificate"
    )
    all: Flag = Field(False, description="Resolved ones too")
    limit: Limit = Field(100, description="At most so many")
    cursor: Annotated[int, Field(ge=1, le=2**63 - 1), BeforeValidator(_whole)] | None = Field(
        None, description="`next` of the answer before"
    )


Asked = TypeVar("Asked", bound=Parameters)


def parameters_of(model: type[Asked], query: QueryParams) -> Asked:
    """Raises BadParameters."""
    sent: dict[str, str] = {}
    for name, value in query.multi_items():
        if name in sent:
            raise BadParameters(f"{name[:100]!r} is given twice. Give it once")
        sent[name] = value
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        raise BadParameters("; ".join(_said(each, known) for each in error.errors())[:2000]) from error


def _said(error: Mapping[str, Any], known: str) -> str:
    where = str(error["loc"][0])[:100] if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"{where!r} is no parameter here. Known: {known}"
    why = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {why}" if where else why
