"""The daemon's clock beside the server's, by which workers' looks are held back.

The inventory's time is the daemon's. Were looks of workers to lie hours ahead of it, each of its own steps would find that time
went back, and put everything back by that (`certwatch.inventory.clock_faults`): after each batch anew.
"""

from datetime import datetime

from certwatch.inventory.clock_faults import SLACK
from certwatch.inventory.instants import to_micros
from certwatch.inventory.postgresql.session import PostgreSQLSession
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
#: Longer than a step waits for its turn; less than what is taken for time that went back.
_LEAST = SLACK // 2


def note(session: PostgreSQLSession, now: datetime) -> None:
    """How far the daemon's clock, which says `now`, is behind the server's. Within the writer's transaction."""
    (behind,) = session.execute(f"SELECT {_NOW} - ?", (to_micros(now),)).fetchone()
    if behind > _LEAST:
        log.warning("clock_behind_server", seconds=behind // 1_000_000)
    session.execute(
        "INSERT INTO meta VALUES ('behind', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (behind if behind > _LEAST else 0,),
    )


def latest(session: PostgreSQLSession) -> int:
    """No look of a worker is later: now, by the server's clock, or by the daemon's where that is far behind. Microseconds."""
    (instant,) = session.execute(
        f"SELECT {_NOW} - coalesce((SELECT value FROM meta WHERE key = 'behind'), 0)"
    ).fetchone()
    return int(instant)
