"""Real PostgreSQL and MariaDB servers from Debian, each with a folder, a port and users of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.servers import accepts, free_port, program, running, wait_until

#: An account that may only read, as the docs have it.
READER = "certwatch"
PASSWORD = "kept-apart"


class DatabaseServer:
    def __init__(self, driver: str, port: int, admin: str) -> None:
        self.port = port
        self._driver = driver
        self._admin = admin

    def admin_url(self, database: str) -> str:
        return f"{self._driver}://{self._admin}@127.0.0.1:{self.port}/{database}"

    def url(self, database: str = "ca", *, user: str = READER, password: str = PASSWORD) -> str:
        """As a user of certwatch writes it, without a driver."""
        return f"{self._driver.partition('+')[0]}://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def answers(self, database: str = "ca") -> bool:
        try:
            with self.administrator(database):
                return True
        except sa.exc.OperationalError:
            return False

    @contextmanager
    def administrator(self, database: str = "ca") -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            self.admin_url(database), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def run(self, *statements: str, database: str = "ca") -> None:
        with self.administrator(database) as connection:
            for each in statements:
                connection.exec_driver_sql(each)


def as_user(user: str) -> list[str]:
    """Neither server runs as root."""
    if os.geteuid() != 0:
        return []
    return [program("runuser", "util-linux"), "-u", user, "--"]


@contextmanager
def _folder(user: str) -> Iterator[Path]:
    # Where the server's own user may enter.
    folder = Path(tempfile.mkdtemp(prefix="certwatch-database-"))
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str | Path], cwd: Path) -> None:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, timeout=60, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")


class PostgreSQLCluster:
    """A data folder whose server can be ended in any way, and begin again on the same port."""

    def __init__(self, folder: Path, programs: Path, port: int, settings: Sequence[str]) -> None:
        self.server = DatabaseServer("postgresql+psycopg", port, "admin")
        self.folder = folder
        self._log = folder.parent / f"{folder.name}.log"
        self._words: list[str | Path] = [
            *as_user("postgres"), programs / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port),
        ]  # fmt: skip
        for each in ("listen_addresses=127.0.0.1", "fsync=off", *settings):
            self._words += ["-c", each]
        self._pid_file = folder / "data" / "postmaster.pid"
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(
            running(self._words, ready=lambda: accepts(self.server.port), log=self._log, seconds=30)
        )
        # It listens, and refuses everybody, before it is up.
        wait_until(lambda: self.server.answers("postgres"), what="postgres", seconds=60)

    def kill(self) -> None:
        """At once, as `pg_ctl stop -m immediate`: nothing is written any more, and recovery follows."""
        os.kill(int(self._pid_file.read_text().split()[0]), signal.SIGQUIT)
        self.stop()

    def stop(self) -> None:
        self._running.close()

    def remove_log(self) -> None:
        self._log.unlink(missing_ok=True)


@contextmanager
def postgresql_cluster(*settings: str) -> Iterator[PostgreSQLCluster]:
    """With an empty database `ca`. `settings`: "name=value"."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        program("initdb", "postgresql")
        pytest.skip("no PostgreSQL")
    programs = found[-1].parent
    with _folder("postgres") as folder:
        data = folder / "data"
        initdb = (programs / "initdb", "-D", data, "-U", "admin", "-A", "trust", "-N", "-E", "UTF8")
        _run([*as_user("postgres"), *initdb], folder)
        (data / "pg_hba.conf").write_text(
            f"host all admin 127.0.0.1/32 trust\nhost all {READER} 127.0.0.1/32 scram-sha-256\n"
        )
        cluster = PostgreSQLCluster(folder, programs, free_port(), settings)
        try:
            cluster.start()
            cluster.server.run("CREATE DATABASE ca", database="postgres")
            cluster.server.run(f"CREATE USER {READER} PASSWORD '{PASSWORD}'")
            yield cluster
        finally:
            cluster.stop()
        cluster.remove_log()


@contextmanager
def postgresql(*settings: str) -> Iterator[DatabaseServer]:
    """With an empty database `ca`. `settings`: "name=value"."""
    with postgresql_cluster(*settings) as cluster:
        yield cluster.server


@contextmanager
def mariadb(*settings: str) -> Iterator[DatabaseServer]:
    """With an empty database `ca`. `settings`: "--name=value"."""
    install = program("mariadb-install-db", "mariadb-server")
    server_program = program("mariadbd", "mariadb-server")
    port = free_port()
    with _folder("mysql") as folder:
        data = folder / "data"
        common = ["--no-defaults", f"--datadir={data}"]
        _run([*as_user("mysql"), install, *common, "--auth-root-authentication-method=normal"], folder)
        start = folder / "start.sql"
        start.write_text(
            "CREATE USER admin@'127.0.0.1' IDENTIFIED BY 'admin';\n"
            "GRANT ALL ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION;\n"
            f"CREATE USER {READER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nCREATE DATABASE ca CHARACTER SET utf8mb4;\n"
        )
        start.chmod(0o644)
        words: list[str | Path] = [
            *as_user("mysql"), server_program, *common, f"--port={port}", "--bind-address=127.0.0.1",
            f"--socket={folder}/socket", f"--pid-file={folder}/pid", f"--init-file={start}", "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0", *settings,
        ]  # fmt: skip
        with running(words, ready=lambda: accepts(port), log=folder.parent / f"{folder.name}.log"):
            server = DatabaseServer("mysql+pymysql", port, "admin:admin")
            # It answers before it has read its init file.
            wait_until(server.answers, what="mariadbd")
            yield server
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)
