"""The keys of `kind: ct`."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from certwatch.ct.watch import WatchError, parse_item, parse_key, parse_network
from certwatch.doors.dns_records import NameServer
from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.duration import Duration


class ExtraLog(CollectorConfig):
    """A log that is in no list."""

    #: Prefix under which it answers.
    url: str = Field(pattern=r"^https?://[^\s?#@]+$", max_length=300)
    #: Its public key: PEM, or the SubjectPublicKeyInfo in base64.
    key: str
    kind: Literal["rfc6962", "static"] = "rfc6962"
    #: Static logs: where it takes submissions, if elsewhere: it is in its checkpoints.
    submission_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#@]+$", max_length=300)
    description: str = ""
    operator: str = ""
    mmd: Duration = timedelta(days=1)


class CAALookups(CollectorConfig):
    """How CAA records are looked up."""

    #: Name servers: "192.0.2.53", "192.0.2.53:5353". Empty: the system's.
    servers: tuple[str, ...] = ()
    #: CAs that are not known here: pattern over the issuer's name, and what stands for it in CAA records.
    identities: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    #: Of one look-up.
    timeout: Duration = timedelta(seconds=10)

    @field_validator("servers")
    @classmethod
    def _are_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for each in servers:
            NameServer.parse(each)
        return servers


class CTConfig(CollectorConfig):
    #: "www.example.com" is that name alone, ".example.com" it and everything below.
    domains: tuple[str, ...] = ()
    #: A file with more of them, one a line; read anew before each scan.
    domains_file: str | None = None
    #: Addresses and networks.
    addresses: tuple[str, ...] = ()
    #: Organisations, as a certificate's subject names them (O).
    organizations: tuple[str, ...] = ()
    #: SHA-256 of public keys (SubjectPublicKeyInfo), hex.
    keys: tuple[str, ...] = ()
    #: Watch the keys of all certificates that other collectors see in use.
    own_keys: bool = False
    #: A file, or a URL, in the v3 format of Chrome and Apple.
    log_list: str | None = None
    #: File with the PEM public key by which the list is signed (in a file of the same name with .sig).
    log_list_key: str | None = None
    #: Logs beside those of the list.
    logs: tuple[ExtraLog, ...] = ()
    #: Only logs whose name contains one of these.
    only: tuple[str, ...] = ()
    #: "end", "beginning", or a date: where reading of a log begins that was never read.
    start: Literal["end", "beginning"] | date | datetime = "end"
    #: How logs' operators can reach you: a mail address or URL. Goes into the user agent.
    contact: str = Field(default="", max_length=200)
    #: The longest that one scan reads on behind what is new; the next goes on.
    longest: Duration = timedelta(minutes=59)
    #: Between two looks at a log's head, within one scan.
    poll: Duration = timedelta(seconds=60)
    #: Fetches of one log at a time, at most.
    parallel: int = Field(default=4, ge=1, le=32)
    #: Bytes a second from one log, at most. None: as much as it gives.
    bandwidth: int | None = Field(default=None, ge=10_000)
    #: Requests a second to one log, at most. None: as many as it takes.
    requests: float | None = Field(default=None, gt=0)
    #: Of one request.
    timeout: Duration = timedelta(seconds=60)
    #: Look up whether CAA records allow what is found. None: they are not asked.
    caa: CAALookups | None = None
    #: File with CA certificates that logs' own TLS certificates may have, beside the system's.
    tls_ca: str | None = None

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: object) -> object:
        if isinstance(value, str) and value not in ("end", "beginning"):
            try:
                return datetime.fromisoformat(value)
            except ValueError as error:
                raise ValueError('expected "end", "beginning" or a date (2026-11-01)') from error
        return value

    @model_validator(mode="after")
    def _fits(self) -> "CTConfig":
        try:
            for each in self.domains:
                parse_item(each)
            for each in self.addresses:
                parse_network(each)
            for each in self.keys:
                parse_key(each)
        except WatchError as error:
            raise ValueError(str(error)) from error
        if self.log_list is None and not self.logs:
            raise ValueError("needs log_list or logs: nothing is there to read")
        if not (
            self.domains
            or self.domains_file
            or self.addresses
            or self.organizations
            or self.keys
            or self.own_keys
        ):
            raise ValueError("needs domains, or something else to watch for")
        if self.log_list_key is not None and self.log_list is None:
            raise ValueError("log_list_key is for log_list")
        return self

    @property
    def started_at(self) -> datetime | None:
        """None: at the end, or the beginning."""
        if isinstance(self.start, str):
            return None
        if isinstance(self.start, datetime):
            return self.start if self.start.tzinfo is not None else self.start.replace(tzinfo=UTC)
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
