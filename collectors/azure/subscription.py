"""One subscription, while it is looked at: how it is asked, and how what is seen becomes locations."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from certwatch.doors.json_api import RestClient
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, LookError, Observation
from collectors.azure.config import AzureConfig

Chain = tuple[bytes, ...]
_LONGEST_LABEL = 200
_MOST_LABELS = 30


def scope(subscription: str, *rest: str) -> str:
    return "/".join((subscription, *rest))


def scope_of(uri: str) -> str:
    """The scope that a location is of: vaults have one each."""
    steps = uri.partition("#")[0].removeprefix("azure://").split("/")
    return "/".join(steps[: 3 if len(steps) > 1 and steps[1] == "keyvault" else 2])


@dataclass(slots=True, kw_only=True)
class Subscription:
    id: str
    #: As people call it.
    name: str
    config: AzureConfig
    clock: Clock
    #: Azure Resource Manager.
    manager: RestClient
    #: For a vault's own address. Raises RestError: it is no vault's.
    vault: Callable[[str], RestClient]
    #: What is worth remembering between scans, by any key.
    memory: dict[Any, Any] = field(default_factory=dict)

    async def listed(self, path: str, version: str) -> AsyncIterator[Mapping[str, Any]]:
        """Raises RestError."""
        async for each in listed(self.manager, path, {"api-version": version}):
            yield each

    def look(
        self,
        service: str,
        *path: str,
        chain: Chain = (),
        facts: Mapping[str, Fact | None] | None = None,
        tags: object = None,
        id: str = "",
        part: str = "",
        error: LookError | None = None,
        location: str = "",
    ) -> Observation:
        steps = "/".join(quote(step, safe="") for step in (self.id, service, *path))
        uri = LocationURI(f"azure://{steps}" + (f"#{quote(part, safe='/')}" if part else ""))
        given = {key: value for key, value in (facts or {}).items() if value is not None}
        return Observation(
            location=uri,
            observed_at=self.clock(),
            chain=chain,
            facts={**given, "azure_id": id},
            error=error,
            labels=self.labels(tags, location),
            scope=scope_of(uri),
        )

    def labels(self, tags: object, location: str) -> dict[str, str]:
        config = self.config
        folded = {
            str(key).lower(): value[:_LONGEST_LABEL]
            for key, value in (tags.items() if isinstance(tags, Mapping) else ())
            if isinstance(value, str) and value
        }
        wanted = folded if "*" in config.tag_labels else [each.lower() for each in config.tag_labels]
        labels = {key: folded[key] for key in list(wanted)[:_MOST_LABELS] if key in folded}
        owner = next((folded[key.lower()] for key in config.owner_tags if key.lower() in folded), None)
        return {
            **labels,
            **({"owner": owner} if owner else {}),
            "subscription": self.name,
            **({"location": location} if location else {}),
        }


async def listed(
    client: RestClient, path: str, parameters: Mapping[str, str | int]
) -> AsyncIterator[Mapping[str, Any]]:
    """Items of a listing whose pages name the next one by a whole URL. Raises RestError."""

    def following(page: Mapping[str, Any]) -> tuple[str, None] | None:
        link = page.get("nextLink") or page.get("@odata.nextLink")
        return (str(link), None) if link else None

    async for page in client.pages(path, parameters, following=following):
        # Always there, also if it is empty.
        for each in page["value"] or ():
            yield each
