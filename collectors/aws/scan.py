"""One scan: accounts, their regions in parallel, in each the services one after the other."""

import asyncio
import traceback
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import botocore.session

from certwatch.doors.aws import Account, AWSError, Door, Limits, Stopped
from certwatch.model.observation import Incomplete, LookError
from certwatch.plugins.collector import CollectorContext
from certwatch.telemetry.logs import get_logger
from collectors.aws import accounts, tags
from collectors.aws.accounts import Wanted
from collectors.aws.config import AWSConfig
from collectors.aws.known import Known
from collectors.aws.operations import chosen, permitted
from collectors.aws.place import GLOBAL, scope
from collectors.aws.region import Region, Uses
from collectors.aws.service import Said, Service
from collectors.aws.threads import Outbox, in_thread

log = get_logger(__name__)

#: Observations handed over at once.
_PART = 200
#: Services of a region that may be unreachable before the region is.
_UNREACHABLE = 2


class Scan:
    """`run` it once."""

    def __init__(
        self, name: str, config: AWSConfig, context: CollectorContext, memory: dict[Any, dict[Any, Any]]
    ) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._memory = memory
        self._services = chosen(config.services)
        self._known: Known | None = None
        self.door = Door(
            permitted(),
            Limits(rate=config.rate, attempts=config.attempts, timeout=config.timeout),
            endpoint_url=config.endpoint_url,
            home_region=config.home_region,
        )
        self.outbox: Outbox[Said] = Outbox(self.door.stopped)
        # Guards the number of threads.
        self._turn = asyncio.Semaphore(config.concurrency)

    async def run(self) -> list[LookError] | None:
        """Why accounts could not be looked at, if none could. None: some could."""
        try:
            self._known = await in_thread(self._learn)
            wanted, failed = await in_thread(partial(accounts.wanted, self._name, self._config, self.door))
            failures: list[LookError] = []
            if failed is not None:
                failures.append(failed)
                known = await in_thread(partial(self._others, {each.id for each in wanted}))
                await in_thread(partial(self._tell, "", "organization", failed, known))
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(self._account(each)) for each in wanted]
            unseen = [why for each in looks if (why := each.result()) is not None]
            failures += unseen
            return failures if failures and len(unseen) == len(wanted) else None
        finally:
            await self.outbox.end()

    def _learn(self) -> Known:
        return Known(self._name, self._context.view, self._config.reconcile, self._context.clock())

    def _others(self, ids: set[str]) -> list[str]:
        """Scopes of accounts that nobody named this time."""
        assert self._known is not None  # noqa: S101
        return [each for each in self._known.scopes("") if each.partition("/")[0] not in ids]

    async def _account(self, wanted: Wanted) -> LookError | None:
        """Why it could not be looked at."""
        assert self._known is not None  # noqa: S101
        try:
            async with self._turn:
                account = await in_thread(
                    partial(
                        self.door.account,
                        self._name,
                        id=wanted.id,
                        profile=self._config.profile,
                        role=wanted.role,
                    )
                )
                regions = await in_thread(partial(accounts.regions, self._config, account))
        except AWSError as error:
            # Without an id nobody knows which locations are the account's: none of them may go.
            known = await in_thread(partial(self._known.scopes, wanted.id))
            await in_thread(partial(self._tell, wanted.id, wanted.id or self._name, error.error, known))
            return error.error
        uses = Uses()
        everywhere = [each for each in self._services if not each.is_global]
        async with asyncio.TaskGroup() as group:
            for name in regions:
                group.create_task(self._region(account, wanted, name, name, everywhere, uses))
        of_no_region = [each for each in self._services if each.is_global]
        await self._region(account, wanted, GLOBAL, self._config.home_region, of_no_region, uses)
        return None

    def _tell(self, account: str, where: str, error: LookError, scopes: Sequence[str]) -> None:
        self.outbox.put(
            [Incomplete(scope=where, error=error), *(Incomplete(scope=each, error=error) for each in scopes)]
        )

    async def _region(
        self,
        account: Account,
        wanted: Wanted,
        name: str,
        asked: str,
        services: Sequence[Service],
        uses: Uses,
    ) -> None:
        assert self._known is not None  # noqa: S101
        here = [each for each in services if _is_there(each, asked)]
        if not here:
            return
        region = Region(
            account=account,
            name=name,
            asked=asked,
            config=self._config,
            clock=self._context.clock,
            now=self._context.clock(),
            known=self._known,
            uses=uses,
            collector=self._name,
            account_labels=wanted.labels,
            memory=self._memory.setdefault((account.id, name), {}),
        )
        async with self._turn:
            await in_thread(partial(self._look, region, here))

    def _look(self, region: Region, services: Sequence[Service]) -> None:
        """In a thread."""
        try:
            self._read_tags(region, services)
            unreachable = 0
            last: LookError | None = None
            for service in services:
                if last is None or unreachable < _UNREACHABLE:
                    last = self._look_at(region, service)
                    unreachable = unreachable + 1 if last is not None and last.kind in _NO_ANSWER else 0
                else:
                    self._failed(region, service, last)
        except Stopped:
            pass
        finally:
            region.close()

    def _read_tags(self, region: Region, services: Sequence[Service]) -> None:
        try:
            region.tags = tags.read_tags(region, tuple(each.name for each in services))
        except AWSError as error:
            # Nothing of the scan is missing but who answers: labels stay as they were.
            self.outbox.put(
                [Incomplete(scope=scope(region.account.id, region.name, "tags"), error=error.error)]
            )

    def _look_at(self, region: Region, service: Service) -> LookError | None:
        part: list[Said] = []
        try:
            for each in service.look(region):
                part.append(each)
                if len(part) >= _PART:
                    self.outbox.put(part)
                    part = []
        except AWSError as error:
            self.outbox.put(part)
            self._failed(region, service, error.error)
            return error.error
        except (AttributeError, KeyError, TypeError, ValueError) as odd:
            # botocore checks what is sent, not what is answered.
            where = f"{region.account.where}/{region.name}: {service.name}"
            unexpected = LookError(
                kind="malformed", message=f"{where}: answers in an unexpected form ({odd!r:.100})"
            )
            log.warning(
                "aws_answer_unexpected",
                where=where,
                frames="".join(traceback.format_tb(odd.__traceback__)[-3:]),
            )
            self.outbox.put(part)
            self._failed(region, service, unexpected)
            return unexpected
        self.outbox.put(part)
        return None

    def _failed(self, region: Region, service: Service, error: LookError) -> None:
        region.uses.incomplete = True
        self.outbox.put([Incomplete(scope=scope(region.account.id, region.name, service.name), error=error)])


_NO_ANSWER = ("unreachable", "timeout", "dns")


def _is_there(service: Service, region: str) -> bool:
    """Whether AWS says that the region has it; a region that is newer than what botocore knows may."""
    if not service.available_as:
        return True
    known = _regions_of(service.available_as)
    return region in known or region not in _regions_of("sts")


@cache
def _regions_of(service: str) -> frozenset[str]:
    session = botocore.session.get_session()
    return frozenset(
        each
        for partition in session.get_available_partitions()
        for each in session.get_available_regions(service, partition_name=partition)
    )
