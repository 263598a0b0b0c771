"""Carrying a plan out: by the daemon if it runs, else here."""

import asyncio
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from certwatch.cli.failure import FAILED, Failed
from certwatch.cli.remediate.stage import Stage

if TYPE_CHECKING:
    from certwatch.remediation.records import Plan

#: Between two looks at a plan that the daemon carries out.
POLL_SECONDS = 0.3


def ended(stage: Stage, id: int) -> "Plan":
    from certwatch.remediation.failure import RemediationError
    from certwatch.remediation.opening import folder_of
    from certwatch.remediation.running import ExecutorLock

    found = stage.book.plan(id)
    if found.state == "waiting":
        raise Failed(FAILED, f"plan {id} waits for approval: certwatch remediate approve {id} --why TEXT")
    try:
        lock = ExecutorLock(folder_of(stage.config, os.environ))
    except RemediationError as error:
        if error.kind != "refused":
            raise
        while found.is_active:
            time.sleep(POLL_SECONDS)
            found = stage.book.plan(id)
        return found
    try:
        return asyncio.run(_carry_out(stage, id))
    finally:
        lock.release()


async def _carry_out(stage: Stage, id: int) -> "Plan":
    from certwatch.remediation.apply import carry_out

    def look_again(collectors: Iterable[str]) -> None:
        names = " ".join(collectors)
        if names:
            click.echo(f"certwatch: the inventory sees it with: certwatch collect {names}", err=True)

    return await carry_out(stage.world(look_again), id)
