"""Google Cloud: Certificate Manager, classic SSL certificates, CA Service, and who uses them, over many projects."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import ClassVar

from certwatch.doors.json_api import Limits, RestClient, RestError
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectError, CollectorConfig, CollectorContext
from collectors.gcp import certificate_manager, compute, private_ca
from collectors.gcp.config import GCPConfig, ServiceName
from collectors.gcp.credentials import Tokens
from collectors.gcp.project import Project, scope_of
from collectors.guarded import FAILURES, told
from collectors.scopes import known_scopes
from collectors.several import Put, Said, several

__all__ = ["GCPCollector", "GCPConfig"]

_ORIGINS = {
    "certificate-manager": "https://certificatemanager.googleapis.com",
    "compute": "https://compute.googleapis.com",
    "private-ca": "https://privateca.googleapis.com",
    "projects": "https://cloudresourcemanager.googleapis.com",
}
Look = Callable[[Project], AsyncIterator[Observation | Incomplete]]
_LOOKS: Mapping[ServiceName, Look] = {
    "certificate-manager": certificate_manager.look,
    "compute": compute.look,
    "private-ca": private_ca.look,
}
#: Observations handed over at once.
_PART = 200


class GCPCollector:
    """Locations: `gcp://PROJECT/LOCATION/SERVICE/…`; scopes: `PROJECT/LOCATION/SERVICE`."""

    Config: ClassVar[type[CollectorConfig]] = GCPConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        if not isinstance(config, GCPConfig):
            raise TypeError(f"{name}: config is {type(config).__name__}, not GCPConfig")
        self._name = name
        self._config = config
        self._context = context

    async def collect(self) -> AsyncIterator[Said]:
        config = self._config
        tokens = Tokens(config)
        limits = Limits(
            rate=config.rate,
            attempts=config.attempts,
            timeout=config.timeout,
            concurrency=config.concurrency,
        )
        async with AsyncExitStack() as stack:
            clients = {
                service: await stack.enter_async_context(
                    RestClient(
                        f"gcp-{service}",
                        config.endpoint or origin,
                        clock=self._context.clock,
                        credentials=tokens,
                        limits=limits,
                    )
                )
                for service, origin in _ORIGINS.items()
            }
            try:
                await tokens(False)
                ids = await self._projects(clients["projects"])
            except FAILURES as failure:
                error = told(failure, where=self._name)
                raise CollectError(error.kind, error.message) from failure
            done = 0
            works = [partial(self._project, clients, each) for each in ids]
            async with aclosing(several(works, at_once=config.concurrency)) as stream:
                async for each in stream:
                    done += 1
                    self._context.progress(done, None)
                    yield each

    async def _projects(self, client: RestClient) -> list[str]:
        named = [each for each in self._config.projects if each != "*"]
        if "*" in self._config.projects:
            path = "/v3/projects:search"
            query: dict[str, str | int] = {"query": "state:ACTIVE", "pageSize": 500}

            def following(page: Mapping[str, object]) -> tuple[str, Mapping[str, str | int]] | None:
                token = page.get("nextPageToken")
                return (path, {**query, "pageToken": str(token)}) if token else None

            async for page in client.pages(path, query, following=following):
                named += [str(each["projectId"]) for each in page.get("projects") or ()]
            if not named:
                # So it looks as well when a role was taken away; everything would be taken for gone.
                raise RestError("permission", "the service account sees no project at all. Grant it the role")
        return [each for each in dict.fromkeys(named) if each not in self._config.exclude_projects]

    async def _project(self, clients: Mapping[str, RestClient], id: str, put: Put) -> None:
        project = Project(
            id=id,
            config=self._config,
            clock=self._context.clock,
            collector=self._name,
            clients=clients,
        )
        uses = {"certificate-manager": certificate_manager.read_maps, "compute": compute.read_proxies}
        for service in self._config.services:
            if service in uses:
                try:
                    await uses[service](project)
                except FAILURES as failure:
                    # Nothing is missing but who uses them: unknown is not unused.
                    project.uses_incomplete = True
                    error = self._told(id, service, failure)
                    await put([Incomplete(scope=f"{id}/uses/{service}", error=error)])
        for service in self._config.services:
            part: list[Said] = []
            try:
                async for each in _LOOKS[service](project):
                    part.append(each)
                    if len(part) >= _PART:
                        await put(part)
                        part = []
            except FAILURES as failure:
                await put(part)
                await self._failed(id, service, self._told(id, service, failure), put)
            else:
                await put(part)

    def _told(self, project: str, service: str, failure: Exception) -> LookError:
        grant = "Grant it (deploy/gcp/), or leave it out of `services`."
        return told(failure, where=f"{self._name}: project {project}: {service}", grant=grant)

    async def _failed(self, project: str, service: str, error: LookError, put: Put) -> None:
        known = await asyncio.to_thread(known_scopes, self._context.view, self._name, scope_of, f"{project}/")
        concerned = [each for each in known if each.split("/", 2)[2].partition("/")[0] == service]
        await put([Incomplete(scope=f"{project}/{service}", error=error)])
        await put([Incomplete(scope=each, error=error) for each in concerned])
