"""CA databases behind TLS, with the options of the URL that the docs name: real PostgreSQL and MariaDB."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from certwatch.plugins.testing import make_ca, make_certificate
from collectors.ca_database.record import ReadFailed
from collectors.ca_database.sql.database import Database
from tests.support.databases import READER, DatabaseServer, mariadb, postgresql

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = make_ca()
DAY = timedelta(days=1)


class Files:
    def __init__(self, folder: Path, user: str) -> None:
        """With a key that `user` may read, whom the server runs as."""
        now = datetime.now(UTC)
        made = make_certificate(
            issuer=ROOT, names=("ip:127.0.0.1",), not_before=now - DAY, not_after=now + DAY
        )
        folder.chmod(0o755)
        self.trust, self.other, self.certificate, self.key = (
            folder / f"{name}.pem" for name in ("trust", "other", "certificate", "key")
        )
        self.trust.write_bytes(ROOT.pem)
        self.other.write_bytes(make_ca("Another").pem)
        self.certificate.write_bytes(made.pem)
        self.key.write_bytes(made.key_pem)
        self.key.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(self.key, user)


@contextmanager
def _served_by(kind: str, folder: Path) -> Iterator[tuple[DatabaseServer, Files]]:
    # Where another user may enter.
    if kind == "postgresql":
        files = Files(folder, "postgres")
        settings = ("ssl=on", f"ssl_cert_file={files.certificate}", f"ssl_key_file={files.key}")
        with postgresql(*settings) as server:
            yield server, files
    else:
        files = Files(folder, "mysql")
        with mariadb(f"--ssl-cert={files.certificate}", f"--ssl-key={files.key}") as server:
            server.run(
                f"ALTER USER {READER}@'127.0.0.1' REQUIRE SSL",
                f"GRANT SELECT ON ca.* TO {READER}@'127.0.0.1'",
            )
            yield server, files


@pytest.fixture
def folder() -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="certwatch-tls-") as made:
        yield Path(made)


@pytest.mark.parametrize(
    ("kind", "options", "how"),
    [
        (
            "postgresql",
            "sslmode=verify-full&sslrootcert={}",
            "SELECT ssl AS encrypted FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ),
        (
            "mysql",
            "ssl_ca={}",
            "SELECT VARIABLE_VALUE <> '' AS encrypted FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'",
        ),
    ],
)
def test_a_server_is_known_by_its_ca_and_what_passes_is_encrypted(
    folder: Path, kind: str, options: str, how: str
) -> None:
    with _served_by(kind, folder) as (server, files):
        opened = Database(f"{server.url()}?{options.format(files.trust)}", timedelta(seconds=20))
        try:
            (row,) = opened.rows(sa.text(how))
            assert row["encrypted"]
        finally:
            opened.close()
        with pytest.raises(ReadFailed, match="certificate verify failed"):
            Database(f"{server.url()}?{options.format(files.other)}", timedelta(seconds=20))
