"""The core's own keys of the file, as models. A plug-in's keys are its `Config`'s: the core never lists kinds."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from certwatch.model.finding import Severity
from certwatch.plugins.duration import Duration

#: Names of collectors and exporters: they stand in metrics, on the command line and in locations.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
#: With what the queue puts before it, no longer than the name of a channel in PostgreSQL.
ZONE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"
RULE_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"

#: No collector runs more often.
LEAST_INTERVAL = timedelta(seconds=1)
#: Of a worker on its jobs.
SHORTEST_LEASE, LONGEST_LEASE = timedelta(seconds=5), timedelta(minutes=10)


class Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _not_too_often(value: timedelta) -> timedelta:
    if value < LEAST_INTERVAL:
        raise ValueError("at least 1s")
    return value


def _url(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("not a web address: it begins with http:// or https://")
    return value.rstrip("/")


def _inventory(value: str) -> str:
    if not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
        # Not repeated: it may hold a password.
        raise ValueError(
            "not the address of an inventory. Write sqlite:///path/to/inventory.db or postgresql://user@host/database"
        )
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Paths = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list), Field(min_length=1)]


class CollectorKeys(Keys):
    """What every collector has beside its own keys."""

    kind: str
    #: In metrics, in the inventory and on the command line. None: its kind.
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    #: How often it looks, from begin to begin.
    every: Annotated[Duration, AfterValidator(_not_too_often)] = timedelta(hours=1)
    #: Given to every location it sees; what the source itself says wins.
    labels: dict[Annotated[str, Field(min_length=1)], str] = Field(default_factory=dict)
    #: Whose workers (`certwatch worker --queue ZONE`) look, in place of the daemon. None: the daemon itself.
    zone: Annotated[str, Field(pattern=ZONE_PATTERN)] | None = None


class ExporterKeys(Keys):
    kind: str
    #: None: its kind.
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None


class OwnerKeys(Keys):
    team: Annotated[str, Field(min_length=1)]
    #: A condition (CEL) on the location and its leaf certificate.
    when: str
    #: Who is paged. None: the team.
    page: Annotated[str, Field(min_length=1)] | None = None


class RouteKeys(Keys):
    #: Who is told: the label `route` of alerts, a key of `owners` of a notify exporter.
    to: Annotated[str, Field(min_length=1, max_length=100)]
    #: A condition (CEL) on the finding, its certificate and its location.
    when: str


class CustomRuleKeys(Keys):
    id: Annotated[str, Field(pattern=RULE_PATTERN)]
    severity: Severity = "ticket"
    when: str
    summary: str = ""
    text: str = ""


def _lease(value: timedelta) -> timedelta:
    if not SHORTEST_LEASE <= value <= LONGEST_LEASE:
        raise ValueError("5s to 10m")
    return value


def _name(value: str) -> str:
    kind, colon, rest = value.partition(":")
    if not colon or kind not in ("dns", "uri", "email", "ip") or not rest:
        raise ValueError(
            f'"{value}" is not a name like dns:worker.example.com, uri:spiffe://example.com/worker'
        )
    return f"dns:{rest.lower()}" if kind == "dns" else value


class WorkersKeys(Keys):
    """What the daemon and its workers agree on."""

    #: A worker that says nothing for so long has lost its jobs: others take them over.
    lease: Annotated[Duration, AfterValidator(_lease)] = timedelta(seconds=30)
    #: Looks of one part of a scan, about: what is lost with a worker, and begun anew.
    part_looks: int = Field(default=2_000, ge=1, le=1_000_000)
    #: host:port, HTTPS: where workers come that cannot reach PostgreSQL. None: they cannot.
    listen: Annotated[str, Field(min_length=1)] | None = None
    #: What it presents there: PEM, leaf first. None: what the embedded CA presents at its own `listen_tls`.
    cert_file: Annotated[str, Field(min_length=1)] | None = None
    #: Its unencrypted private key, PEM.
    key_file: Annotated[str, Field(min_length=1)] | None = None
    #: Who signs the certificates of these workers, PEM. None: the embedded CA, which is asked whether they are revoked.
    client_ca_file: Annotated[str, Field(min_length=1)] | None = None
    #: By zone, the names of certificates whose holder may work for it: dns:…, uri:…, email:…, ip:….
    zones: dict[
        Annotated[str, Field(pattern=ZONE_PATTERN)],
        Annotated[list[Annotated[str, AfterValidator(_name)]], BeforeValidator(_as_list)],
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _belong_together(self) -> "WorkersKeys":
        files = [self.cert_file, self.key_file, self.client_ca_file]
        if any(files) and not all(files):
            raise ValueError("cert_file, key_file and client_ca_file go together")
        if (any(files) or self.zones) and self.listen is None:
            raise ValueError("say where to listen for workers: listen (host:port)")
        if self.listen is not None and not self.zones:
            raise ValueError("say who may work for which zone: zones")
        return self


class LogKeys(Keys):
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: line: for people; json: one object a line.
    style: Literal["line", "json"] = "line"


class FileKeys(Keys):
    """The top level. Collectors, exporters and rules are validated one by one, with their plug-ins."""

    #: sqlite:///path/to/inventory.db, or postgresql://…
    inventory: Annotated[str, AfterValidator(_inventory)] = ""
    #: Trust stores by name: "system", or files and folders of certificates.
    trust: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Paths] = Field(default_factory=dict)
    #: Lists of keys whose private half is known: badkeys' blocklist.dat, or SHA-256 sums of public keys, one a line.
    known_keys: Paths = Field(default_factory=list)
    collectors: list[dict[str, Any]] = Field(default_factory=list)
    owners: list[OwnerKeys] = Field(default_factory=list)
    #: Who is told of a finding instead of its owner: the first that holds.
    routes: list[RouteKeys] = Field(default_factory=list)
    rules: dict[str, Any] = Field(default_factory=dict)
    exporters: list[dict[str, Any]] = Field(default_factory=list)
    #: The embedded CA: `certwatch.config.ca`.
    ca: dict[str, Any] = Field(default_factory=dict)
    #: Renewing by itself: `certwatch.config.remediation`.
    remediation: dict[str, Any] = Field(default_factory=dict)
    #: Workers in other zones.
    workers: WorkersKeys = WorkersKeys()
    log: LogKeys = LogKeys()
    #: How long what has ended is kept: sightings, scans, certificates and places that nobody sees any more.
    retention: Duration = timedelta(days=400)
    #: How long resolved findings are kept, and the places that they are about. None: for ever.
    findings_retention: Duration | None = None
    #: Where people reach this certwatch; links are made from it.
    external_url: Annotated[str, AfterValidator(_url)] = ""
