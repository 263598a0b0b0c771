"""A real PgBouncer from Debian before a test's PostgreSQL."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.support.databases import as_user
from tests.support.servers import accepts, free_port, program, running

PoolMode = Literal["session", "transaction"]


@contextmanager
def pgbouncer(server_port: int, mode: PoolMode, *, pool_size: int = 8) -> Iterator[int]:
    """Its port: every database of the server, as user `admin`."""
    name = program("pgbouncer", "pgbouncer")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="certwatch-pgbouncer-"))
    try:
        folder.chmod(0o755)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={server_port} user=admin\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {pool_size}\nquery_wait_timeout = 20\n"
        )
        words = [*as_user("postgres"), name, str(settings)]
        with running(words, ready=lambda: accepts(port), log=folder / "log"):
            yield port
    finally:
        shutil.rmtree(folder, ignore_errors=True)
