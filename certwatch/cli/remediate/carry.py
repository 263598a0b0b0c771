"""Carrying a plan out: by the daemon if it runs, else here."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import FAILED, Failed
from certwatch.cli.options import current_clock
from certwatch.cli.remediate.stage import Stage

if TYPE_CHECKING:
    from certwatch.remediation.book import Plan

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
    from certwatch.remediation.opening import world_of

    def look_again(collectors: Any) -> None:
        names = " ".join(collectors)
        if names:
            click.echo(f"certwatch: the inventory sees it with: certwatch collect {names}", err=True)

    world = world_of(
        stage.config,
        os.environ,
        current_clock(),
        book=stage.book,
        policies=stage.policies,
        reading=stage.reading,
        mark=stage.mark,
        ask_ca=stage.ask_ca,
        look_again=look_again,
    )
    return await carry_out(world, id)
