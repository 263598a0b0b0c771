"""What a notify exporter can be told: whom, of what, and when."""

import re
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from certwatch.model.finding import Severity
from certwatch.plugins.duration import Duration, parse_duration
from certwatch.plugins.exporter import ExporterConfig
from exporters.notify.schedule import Schedule

_SCHEDULE = re.compile(r"(\S+)(?:\s+at\s+(\d{1,2}):(\d{2}))?")
MAX_FILE_BYTES = 64 << 10


def _schedule(value: object) -> object:
    """ "24h at 08:00", "7d", false."""
    if value is False or value is None or isinstance(value, Schedule):
        return value or None
    found = _SCHEDULE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError("write it as 24h at 08:00, as 7d at 08:00, or false")
    try:
        every = parse_duration(found[1])
    except ValueError as error:
        raise ValueError(f"{error}; and the whole as 24h at 08:00") from error
    try:
        at = time(int(found[2] or 8), int(found[3] or 0))
    except ValueError as error:
        raise ValueError(f"{found[2]}:{found[3]} is not a time of day") from error
    return Schedule(every=every, at=at)


def _route(value: Any) -> Any:
    """A list of URLs, or one, stands for itself."""
    if isinstance(value, str | SecretStr):
        return {"urls": [value]}
    return {"urls": value} if isinstance(value, list | tuple) else value


class Route(BaseModel):
    """Where one team's notifications go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Secrets, since most hold a password or a token.
    urls: tuple[SecretStr, ...] = ()
    #: File of URLs, one a line; "#" begins a remark.
    urls_file: Path | None = None

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not self.urls and self.urls_file is None:
            raise ValueError("one of urls and urls_file is needed")
        return self

    def read(self) -> list[str]:
        """Blocking. Raises OSError, or ValueError that shows no URL."""
        found = [each.get_secret_value() for each in self.urls]
        if self.urls_file is not None:
            with self.urls_file.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise ValueError(f"{self.urls_file}: larger than {MAX_FILE_BYTES} bytes: not a list of URLs")
            try:
                lines = data.decode().splitlines()
            except UnicodeDecodeError:
                # The error itself would show the secret.
                raise ValueError(f"{self.urls_file}: not UTF-8 text") from None
            found += [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        return list(dict.fromkeys(found))


class NotifyConfig(ExporterConfig):
    #: For every finding whose owner has no URLs of its own. Secrets: apprise's URLs (mailtos://…, slack://…), or
    #: webhook+https://… for JSON.
    urls: tuple[SecretStr, ...] = ()
    #: File of such URLs, one a line.
    urls_file: Path | None = None
    #: By owner: a list of URLs, or urls_file.
    owners: dict[Annotated[str, Field(min_length=1)], Annotated[Route, BeforeValidator(_route)]] = Field(
        default_factory=dict
    )
    #: What a digest tells of.
    severities: tuple[Severity, ...] = ("page", "ticket")
    #: How often, and at what time of day. False: no digests.
    digest: Annotated[
        Schedule | None,
        BeforeValidator(_schedule),
        WithJsonSchema({"type": ["string", "boolean"], "examples": ["24h at 08:00", "7d at 08:00", False]}),
    ] = Schedule(every=timedelta(hours=24), at=time(8, 0))
    #: Of the digest's time of day.
    timezone: str = "UTC"
    #: A digest lists certificates that expire within it. 0: none.
    expiring: Duration = timedelta(days=30)
    #: Told at once.
    immediate: tuple[Severity, ...] = ("page",)
    #: What opens within it is told together.
    group_wait: Duration = timedelta(minutes=1)
    #: What was told at once is told again this often while it is open. 0: never.
    repeat: Duration = timedelta(hours=24)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.urls and self.urls_file is None and not self.owners:
            raise ValueError("nobody would be told: give urls, urls_file or owners")
        for literal in (self.severities, self.immediate):
            if len(set(literal)) != len(literal):
                raise ValueError("severities, immediate: one stands there twice")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"timezone: {self.timezone!r} is unknown here. Write it as Europe/Zurich"
            ) from error
        if timedelta(0) < self.repeat < timedelta(minutes=1):
            raise ValueError("repeat: at least 1m, or 0 for never")
        if self.digest is None and not self.immediate:
            raise ValueError("digest is false and immediate is empty: nothing would ever be told")
        return self

    def routes(self) -> dict[str, Route]:
        """By owner; "" is everybody else."""
        found = dict(self.owners)
        if self.urls or self.urls_file is not None:
            found[""] = Route(urls=self.urls, urls_file=self.urls_file)
        return found
