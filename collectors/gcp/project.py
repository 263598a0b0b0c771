"""One project, while it is looked at: how it is asked, and how what is seen becomes locations."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from certwatch.doors.json_api import RestClient, RestError
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from certwatch.x509 import pem
from collectors.gcp.config import GCPConfig

Chain = tuple[bytes, ...]
_LONGEST_LABEL = 200
_MOST_LABELS = 30
_MOST_USERS = 20
_IN_EVERY_LISTING = frozenset({"nextPageToken", "unreachable", "kind", "items"})


def scope(project: str, location: str, service: str) -> str:
    return f"{project}/{location}/{service}"


def scope_of(uri: str) -> str:
    """The scope that a location is of."""
    if uri.startswith("cadb:"):
        project, _, rest = uri.partition("?ca=")[2].partition("/")
        return scope(project, rest.partition("/")[0], "private-ca/issued")
    return "/".join(uri.removeprefix("gcp://").split("/")[:3])


@dataclass(slots=True, kw_only=True)
class Project:
    #: Its id.
    id: str
    config: GCPConfig
    clock: Clock
    #: The collector's own name.
    collector: str
    #: By service, as the config calls it.
    clients: Mapping[str, RestClient]
    #: Who uses a certificate: its name, or path after the version, to those.
    uses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: Where a certificate is served: targets of the tls collector.
    targets: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: Who uses what could not be read in full.
    uses_incomplete: bool = False

    async def pages(
        self, service: str, path: str, parameters: Mapping[str, str | int]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Raises RestError."""

        def following(page: Mapping[str, Any]) -> tuple[str, Mapping[str, str | int]] | None:
            token = page.get("nextPageToken")
            return (path, {**parameters, "pageToken": str(token)}) if token else None

        # Google leaves an empty list out: what is in none of its answers is another's.
        known = {path.rpartition("/")[2], *_IN_EVERY_LISTING}
        async for page in self.clients[service].pages(path, parameters, following=following):
            if page and not page.keys() & known:
                raise RestError("malformed", f"{path}: answers what is no listing of it.")
            yield page

    def look(
        self,
        location: str,
        service: str,
        *path: str,
        chain: Chain = (),
        facts: Mapping[str, Fact | None] | None = None,
        labels: object = None,
        name: str = "",
        part: str = "",
        error: LookError | None = None,
    ) -> Observation:
        """`name`: of the resource, as the API writes it."""
        steps = "/".join(quote(step, safe="/") for step in (self.id, location, service, *path))
        uri = LocationURI(f"gcp://{steps}" + (f"#{quote(part, safe='')}" if part else ""))
        given = {key: value for key, value in (facts or {}).items() if value is not None}
        if not chain and not given:
            given["gcp_name"] = name
        return Observation(
            location=uri,
            observed_at=self.clock(),
            chain=chain,
            facts={**given, **({"gcp_name": name} if name else {})},
            error=error,
            labels=self.labels(labels, location),
            scope=scope(self.id, location, service),
        )

    def labels(self, found: object, location: str) -> dict[str, str]:
        given = {
            str(key): value[:_LONGEST_LABEL]
            for key, value in (found.items() if isinstance(found, Mapping) else ())
            if isinstance(value, str) and value
        }
        config = self.config
        wanted = given if "*" in config.resource_labels else config.resource_labels
        labels = {key: given[key] for key in list(wanted)[:_MOST_LABELS] if key in given}
        owner = next((given[key] for key in config.owner_labels if key in given), None)
        return {
            **labels,
            **({"owner": owner} if owner else {}),
            "project": self.id,
            "location": location,
        }

    def use(self, certificate: str) -> dict[str, Fact]:
        """What is known of who uses it."""
        users, targets = self.uses.get(certificate, set()), self.targets.get(certificate, set())
        facts: dict[str, Fact] = {}
        if users:
            facts["in_use_by"] = " ".join(sorted(users)[:_MOST_USERS])
        if users or not self.uses_incomplete:
            facts["in_use"] = bool(users)
        if targets:
            facts["tls_targets"] = " ".join(sorted(targets)[:_MOST_USERS])
        return facts


def certificates(*texts: object) -> Chain:
    """PEM in one tuple."""
    found: list[bytes] = []
    for text in texts:
        if isinstance(text, str):
            found += [each.data for each in pem.blocks(text.encode()) if each.is_certificate and each.data]
    return tuple(dict.fromkeys(found))


def unreachable(project: str, service: str, names: Iterable[object]) -> list[Incomplete]:
    """What a listing could not look into: `projects/P/locations/L`, or a part of the URL of a region."""
    found = []
    for each in names:
        location = str(each).rstrip("/").rpartition("/")[2]
        message = f"{project}: {service}: Google could not reach {location}. Nothing there is taken for gone"
        found.append(
            Incomplete(
                scope=scope(project, location, service),
                error=LookError(kind="unreachable", message=message),
            )
        )
    return found


def location_of(name: str) -> str:
    """Of a resource's name: `projects/P/locations/L/…`."""
    parts = name.split("/")
    return parts[3] if len(parts) > 3 and parts[2] == "locations" else "global"


def last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
