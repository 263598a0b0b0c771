"""`certwatch run`: one process that looks, judges and tells until it is told to stop."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from platform import python_version

import uvloop

import certwatch
from certwatch.config.load import load
from certwatch.config.mistakes import ConfigError
from certwatch.daemon.life import Daemon
from certwatch.daemon.process import FAILED, USAGE, open_files, refuse
from certwatch.model.clock import Clock, system_clock
from certwatch.plugins import registry
from certwatch.telemetry import logs
from certwatch.telemetry.metrics import BUILD_INFO


def run(
    config_path: Path | None,
    *,
    env: Mapping[str, str] = os.environ,
    clock: Clock = system_clock,
    insecure_listen: bool = False,
) -> int:
    """Run until SIGTERM or SIGINT: 0. `insecure_listen`: answer everything to everybody who reaches the port, web config
    or none. What keeps it from starting is said on standard error: 2 for the config, 3 for
    anything else. A second signal ends it at once: what was being written is not half-written."""
    logs.set_up()
    foreign = registry.foreign_owners()
    if foreign:
        shared = "; ".join(f"{name}: {', '.join(owners)}" for name, owners in sorted(foreign.items()))
        return refuse(
            FAILED,
            f"another distribution has installed files under names of ours ({shared}). Install certwatch into an"
            " environment of its own",
        )
    try:
        config = load(config_path, env=env)
    except ConfigError as error:
        return refuse(USAGE, *error.messages)
    logs.set_up(level=config.log.level, style=config.log.style)
    open_files()
    BUILD_INFO.labels(certwatch.__version__, python_version()).set(1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(Daemon(config, config_path, env, clock, insecure_listen).main())
    return code
