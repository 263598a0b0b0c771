"""From a checked config to remediation that can be asked, or that runs by itself."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from certwatch.ca.failure import CAError
from certwatch.config import defaults
from certwatch.config.settings import Config
from certwatch.inventory.store import InventoryError, Reader
from certwatch.model.certificate import Certificate
from certwatch.model.clock import Clock
from certwatch.model.mark import Mark, MarkID
from certwatch.plugins.deployer import DeployerContext
from certwatch.plugins.issuer import AskCA, IssuerContext
from certwatch.plugins.registry import PluginError
from certwatch.remediation.book import Book
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.policy import Policy, policies_of
from certwatch.remediation.running import ExecutorLock, Remediation
from certwatch.remediation.verify import looks_at
from certwatch.remediation.world import World
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)


def folder_of(config: Config, env: Mapping[str, str]) -> Path:
    named = config.remediation.keys.directory if config.remediation is not None else None
    return Path(named) if named is not None else defaults.remediation_folder(env, uid=os.getuid())


def made_policies(
    config: Config, env: Mapping[str, str], clock: Clock, ask_ca: AskCA | None
) -> tuple[Policy, ...]:
    """Raises RemediationError "usage"."""
    if config.remediation is None:
        return ()
    context = IssuerContext(clock=clock, ask_ca=ask_ca, state_folder=folder_of(config, env) / "issuers")
    try:
        return policies_of(config.remediation, context, DeployerContext(clock=clock))
    except PluginError as error:
        raise RemediationError("usage", f"remediation: {error}") from error


def world_of(
    config: Config,
    clock: Clock,
    *,
    book: Book,
    policies: Iterable[Policy],
    reading: Callable[[], AbstractContextManager[Reader]],
    mark: Callable[[Mark], object],
    ask_ca: AskCA | None,
    look_again: Callable[[Iterable[str]], None],
) -> World:
    return World(
        book=book,
        policies={each.name: each for each in policies},
        reading=reading,
        clock=clock,
        look=looks_at(clock),
        look_again=look_again,
        note=lambda event, fields: note(ask_ca, event, fields),
        expect=lambda certificate, why: expect(config, mark, clock, certificate, why),
    )


def expect(
    config: Config, mark: Callable[[Mark], object], clock: Clock, certificate: Certificate, why: str
) -> None:
    """Marked as `certwatch ct authorize` would, where CT logs are read at all. An inventory that cannot be written stops no roll-out:
    it is logged."""
    if not any(each.kind == "ct" for each in config.collectors):
        return
    try:
        mark(
            Mark(
                id=MarkID(0),
                kind="authorised",
                certificate=certificate,
                author="certwatch",
                reason=why,
                created_at=clock(),
            )
        )
    except InventoryError as error:
        log.error("remediation_not_expected", certificate=certificate.shown, error=str(error))


def note(ask_ca: AskCA | None, event: str, fields: Mapping[str, Any]) -> None:
    """Into the ledger of the embedded CA, where there is one. A CA that cannot write stops no roll-out: it is logged."""
    if ask_ca is None:
        return
    try:
        ask_ca("note", {"kind": "remediation", "body": {"event": event, **fields}})
    except CAError as error:
        log.error("remediation_not_in_ledger", what=event, error=error.message)


class RunningRemediation:
    """Owned by the event loop's thread."""

    def __init__(self, remediation: Remediation, book: Book, lock: ExecutorLock) -> None:
        self._remediation = remediation
        self._book = book
        self._lock = lock
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._task = asyncio.current_task()
        await self._remediation.run()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._book.close()
        self._lock.release()


def open_remediation(
    config: Config,
    env: Mapping[str, str],
    clock: Clock,
    *,
    reading: Callable[[], AbstractContextManager[Reader]],
    mark: Callable[[Mark], object],
    ask_ca: AskCA | None,
    look_again: Callable[[Iterable[str]], None],
) -> RunningRemediation:
    """Blocking. Takes the lock of those who carry out plans. Raises RemediationError."""
    assert config.remediation is not None  # noqa: S101
    keys = config.remediation.keys
    folder = folder_of(config, env)
    policies = made_policies(config, env, clock, ask_ca)
    lock = ExecutorLock(folder)
    try:
        book = Book(folder)
    except BaseException:
        lock.release()
        raise
    world = world_of(
        config,
        clock,
        book=book,
        policies=policies,
        reading=reading,
        mark=mark,
        ask_ca=ask_ca,
        look_again=look_again,
    )
    return RunningRemediation(
        Remediation(world, policies, every=keys.every, at_once=keys.at_once), book, lock
    )
