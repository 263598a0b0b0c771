"""CA databases behind SQL: real PostgreSQL and MariaDB, the account that the docs describe, what can go wrong."""

import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ca_database.skim import issuer_tag
from collectors.ca_database.sql import cfssl as cfssl_tables
from tests.support.ca_rounds import Rounds
from tests.support.databases import READER, DatabaseServer
from tests.support.inventories import Tried
from tests.support.openssl import openssl
from tests.support.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

ROOT = make_ca()
TAG = issuer_tag(read(ROOT.der).subject_der or b"")
DAY = timedelta(days=1)


@pytest.fixture(params=["postgres", "maria"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def issued(serial: int, name: str = "www.example.com", **more: Any) -> Issued:
    return make_certificate(issuer=ROOT, serial_number=serial, names=(f"dns:{name}",), **more)


def at(serial: int) -> str:
    shown = f"{serial:x}"
    return f"cadb://corp/{shown.zfill(len(shown) + len(shown) % 2)}?ca={TAG}"


def grant(server: DatabaseServer, *tables: str) -> None:
    host = "" if server.url().startswith("postgresql") else "@'127.0.0.1'"
    server.run(*[f"GRANT SELECT ON {each} TO {READER}{host}" for each in tables])


def of_kind(server: DatabaseServer, *, bytes: str, time: str = "timestamp") -> str:
    return bytes if server.url().startswith("mysql") else "bytea"


# A database of one's own, by a query.


class Own:
    """A table as somebody's own CA may keep it."""

    def __init__(self, server: DatabaseServer) -> None:
        self.server = server
        blob = of_kind(server, bytes="mediumblob")
        server.run(
            "DROP TABLE IF EXISTS requests",
            "DROP TABLE IF EXISTS issued",
            f"CREATE TABLE issued (id bigint PRIMARY KEY, body {blob}, serial varchar(60), gone timestamp NULL,"
            " why varchar(40), who varchar(40), template varchar(40))",
            "CREATE TABLE requests (asked_at timestamp NULL)",
        )
        grant(server, "issued", "requests")

    def add(
        self, id: int, certificate: bytes | None, *, serial: str | None = None, gone: str | None = None
    ) -> None:
        with self.server.administrator() as connection:
            connection.execute(
                sa.text("INSERT INTO issued VALUES (:id, :body, :serial, :gone, :why, 'alice', 'web')"),
                {"id": id, "body": certificate, "serial": serial, "gone": gone, "why": "key_compromise"},
            )

    @property
    def config(self) -> dict[str, Any]:
        return {
            "preset": "sql",
            "url": self.server.url(),
            "query": "SELECT id, body AS certificate, serial, gone AS revoked_at, why AS reason, who AS requester,"
            " template AS profile FROM issued;",
            "cursor": "id",
            "pending_query": "SELECT count(*), min(asked_at) FROM requests",
        }


async def test_a_query_is_read_in_full_and_then_by_what_is_new(server: DatabaseServer, tried: Tried) -> None:
    own = Own(server)
    own.add(1, issued(0x0A).der)
    own.add(2, issued(0x0B).pem, gone="2026-10-20 11:22:33")
    own.server.run("INSERT INTO requests VALUES ('2026-10-30 08:00:00'), ('2026-10-31 08:00:00')")
    rounds = Rounds(tried, **own.config)
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert rounds.live() == [at(0x0A), at(0x0B)]
    assert tried.served(at(0x0A)).facts == {
        "ca_status": "issued",
        "ca_requester": "alice",
        "ca_profile": "web",
    }
    revoked = tried.served(at(0x0B)).facts
    assert (revoked["ca_status"], revoked["revoked_at"]) == ("revoked", "2026-10-20T11:22:33Z")
    assert revoked["revocation_reason"] == "keyCompromise"
    facts = rounds.database.facts
    assert (facts["ca_pending"], facts["ca_pending_since"]) == (2, "2026-10-30T08:00:00Z")

    await rounds.round()
    assert rounds.told == []
    own.add(3, issued(0x0C).der)
    scan = await rounds.round()
    assert scan.status == "complete"
    assert at(0x0C) in rounds.told
    assert rounds.live() == [at(0x0A), at(0x0B), at(0x0C)]
    own.server.run("DELETE FROM issued WHERE id = 2")
    await rounds.round(days=1)
    assert rounds.live() == [at(0x0A), at(0x0C)]


async def test_a_broken_certificate_is_told_and_the_others_are_read(
    server: DatabaseServer, tried: Tried
) -> None:
    own = Own(server)
    own.add(1, b"nothing", serial="0D")
    own.add(2, None)
    own.add(3, b"\x30\x05abc", serial="0e")
    own.add(4, issued(0x0A).der)
    rounds = Rounds(tried, **own.config)
    assert (await rounds.round()).status == "complete"
    broken = tried.served("cadb://corp/0d")
    assert broken.error is not None
    assert "neither DER nor PEM" in broken.error.message
    assert tried.served("cadb://corp/0e").chain[0].problems
    assert at(0x0A) in rounds.live()


async def test_a_database_restored_from_before_is_found_out_and_read_in_full(
    server: DatabaseServer, tried: Tried
) -> None:
    own = Own(server)
    for number in (1, 2, 3):
        own.add(number, issued(number).der)
    rounds = Rounds(tried, **own.config)
    await rounds.round()
    own.server.run("DELETE FROM issued WHERE id = 3")
    scan = await rounds.round()
    assert scan.status == "complete"
    assert rounds.live() == [at(1), at(2)]
    assert rounds.database.facts["ca_went_back_at"] == f"{tried.clock():%Y-%m-%dT%H:%M:%SZ}"
    # It went on from there: another certificate has the number that one had before.
    await rounds.round()
    before = rounds.database.facts["ca_went_back_at"]
    own.server.run("DELETE FROM issued WHERE id = 2")
    own.add(2, issued(99).der)
    await rounds.round()
    assert rounds.live() == [at(1), at(99)]
    assert rounds.database.facts["ca_went_back_at"] != before


async def test_a_column_that_the_query_does_not_yield_is_named(server: DatabaseServer, tried: Tried) -> None:
    own = Own(server)
    own.add(1, issued(1).der)
    rounds = Rounds(tried, **{**own.config, "query": "SELECT id, body FROM issued"})
    scan = await rounds.round()
    assert scan.error is not None
    assert "yields no column certificate (but id, body)" in scan.error.message


async def test_the_connection_cannot_write_even_if_the_account_could(
    server: DatabaseServer, tried: Tried
) -> None:
    own = Own(server)
    own.add(1, issued(1).der)
    user, _, password = ("admin", "", "admin")
    config = {**own.config, "url": server.url(user=user, password=password)}
    from collectors.ca_database.record import ReadFailed
    from collectors.ca_database.sql.database import Database

    database = Database(str(config["url"]), timedelta(seconds=10))
    try:
        with pytest.raises(ReadFailed, match=r"(?i)read.only"):
            database.rows(sa.text("INSERT INTO issued (id) VALUES (77)"))
    finally:
        database.close()
    with server.administrator() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM issued")).scalar() == 1


async def test_a_statement_that_takes_too_long_is_ended(server: DatabaseServer, tried: Tried) -> None:
    sleep = "pg_sleep(30)" if server.url().startswith("postgresql") else "sleep(30)"
    rounds = Rounds(
        tried,
        preset="sql",
        url=server.url(),
        timeout="1s",
        query=f"SELECT 'x' AS certificate, {sleep} AS waited",
    )
    scan = await rounds.round()
    # MariaDB's sleep() returns early when its statement is ended, so that it is over in time at any rate.
    assert scan.error is not None or not server.url().startswith("postgresql")
    if scan.error is not None:
        assert scan.error.kind == "timeout"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"password": "wrong"}, "permission"),
        ({"user": "nobody"}, "permission"),
        ({"database": "elsewhere"}, ("not-found", "permission")),
    ],
)
async def test_why_it_cannot_connect_is_told_without_the_password(
    server: DatabaseServer, tried: Tried, change: dict[str, str], kind: str | tuple[str, ...]
) -> None:
    rounds = Rounds(tried, preset="cfssl", url=server.url(**change))
    scan = await rounds.round()
    assert scan.status == "failed"
    assert scan.error is not None
    assert scan.error.kind in kind
    assert change.get("password", "kept-apart") not in scan.error.message


async def test_a_connection_lost_in_the_middle_keeps_what_was_read_and_retires_nothing(
    server: DatabaseServer, tried: Tried
) -> None:
    own = Own(server)
    made = [issued(number).der for number in range(1, 6)]
    with server.administrator() as connection:
        connection.execute(
            sa.text("INSERT INTO issued VALUES (:id, :body, NULL, NULL, NULL, NULL, NULL)"),
            [{"id": n, "body": made[n % 5] + bytes(8000)} for n in range(1, 10_001)],
        )
    from collectors.ca_database.record import ReadFailed
    from collectors.ca_database.sql.query import QueryTables
    from collectors.ca_database.sql.source import SQLSource

    def tables(database: Any, oldest: datetime) -> QueryTables:
        return QueryTables(database, oldest, query=own.config["query"], cursor="id", pending_query=None)

    source = SQLSource(server.url(), tables, several=True, timeout=timedelta(seconds=30), oldest=EPOCH)
    reading = source.open("")
    assert reading is not None
    records = reading.records()
    next(records)
    with server.administrator() as connection:
        if server.url().startswith("postgresql"):
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{READER}'"  # noqa: S608
            )
        else:
            for (id,) in connection.exec_driver_sql(
                f"SELECT id FROM information_schema.processlist WHERE user = '{READER}'"  # noqa: S608
            ).fetchall():
                connection.exec_driver_sql(f"KILL CONNECTION {id}")
    with pytest.raises(ReadFailed) as failed:
        for _ in records:
            pass
    assert failed.value.kind in ("reset", "other")
    reading.close()


async def test_a_server_that_has_stopped_is_not_waited_for(
    postgres: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own limit on statements does not help there, and its kernel goes on answering."""
    from collectors.ca_database.record import ReadFailed
    from collectors.ca_database.sql import database

    monkeypatch.setattr(database, "GRACE_SECONDS", 1.0)
    opened = database.Database(postgres.url(), timedelta(seconds=1))
    (row,) = opened.rows(sa.text("SELECT pg_backend_pid() AS pid"))
    backend = int(row["pid"])
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(ReadFailed, match="no answer within 2 s") as failed:
            opened.rows(sa.text("SELECT 1"))
        assert failed.value.kind == "timeout"
        opened.close()
    finally:
        os.kill(backend, signal.SIGCONT)


async def test_a_cursor_of_bytes_is_followed(maria: DatabaseServer, tried: Tried) -> None:
    maria.run(
        "DROP TABLE IF EXISTS versions",
        "CREATE TABLE versions (version binary(8), body mediumblob, number decimal(49))",
    )
    grant(maria, "versions")

    def add(version: int, certificate: bytes) -> None:
        with maria.administrator() as connection:
            connection.execute(
                sa.text("INSERT INTO versions VALUES (:version, :body, 10)"),
                {"version": version.to_bytes(8, "big"), "body": certificate},
            )

    add(0x80, issued(0x0A).der)
    add(0x81, b"broken")
    query = "SELECT version, body AS certificate, number AS serial FROM versions"
    rounds = Rounds(tried, preset="sql", url=maria.url(), query=query, cursor="version")
    await rounds.round()
    # A number is decimal, of whatever type.
    assert set(rounds.live()) == {"cadb://corp/0a", at(0x0A)}
    await rounds.round()
    assert rounds.told == []
    add(0xFF00, issued(0x0C).der)
    await rounds.round()
    assert at(0x0C) in rounds.told
    assert at(0x0A) not in rounds.told
    assert "ca_went_back_at" not in rounds.database.facts


# cfssl, by cfssl itself.

CFSSL = {
    "postgresql": (
        "CREATE TABLE certificates (serial_number bytea NOT NULL, authority_key_identifier bytea NOT NULL, ca_label bytea,"
        " status bytea NOT NULL, reason int, expiry timestamptz, revoked_at timestamptz, pem bytea NOT NULL,"
        " PRIMARY KEY(serial_number, authority_key_identifier))"
    ),
    "mysql": (
        "CREATE TABLE certificates (serial_number varbinary(128) NOT NULL, authority_key_identifier varbinary(128) NOT NULL,"
        " ca_label varbinary(128), status varbinary(128) NOT NULL, reason int, expiry timestamp DEFAULT '1970-01-02',"
        " revoked_at timestamp DEFAULT '1970-01-02', pem varbinary(4096) NOT NULL,"
        " PRIMARY KEY(serial_number, authority_key_identifier))"
    ),
    "sqlite": (
        "CREATE TABLE certificates (serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob,"
        " status blob NOT NULL, reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL,"
        " PRIMARY KEY(serial_number, authority_key_identifier))"
    ),
}


class SQLiteFile:
    """As a server is used here."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def run(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for each in statements:
                connection.execute(each)


class Cfssl:
    """The program, with a CA and this server or file as its certdb."""

    def __init__(self, server: DatabaseServer | SQLiteFile, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._program = program("cfssl", "golang-cfssl")
        kind = server.url().partition(":")[0]
        server.run("DROP TABLE IF EXISTS certificates", CFSSL[kind])
        if isinstance(server, SQLiteFile):
            driver, source = "sqlite3", str(server.path)
        else:
            grant(server, "certificates")
            driver, source = (
                ("postgres", f"postgres://admin@127.0.0.1:{server.port}/ca?sslmode=disable")
                if kind == "postgresql"
                else ("mysql", f"admin:admin@tcp(127.0.0.1:{server.port})/ca?parseTime=true")
            )
        self._database = folder / "db.json"
        self._database.write_text(json.dumps({"driver": driver, "data_source": source}))
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=Corp CA", "-days", "900",
        )  # fmt: skip
        (folder / "config.json").write_text(
            json.dumps({"signing": {"default": {"usages": ["server auth"], "expiry": "720h"}}})
        )

    def run(self, *words: str | Path) -> bytes:
        done = subprocess.run(
            [self._program, words[0], f"-db-config={self._database}", *map(str, words[1:])],
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def issue(self, name: str) -> tuple[int, str]:
        """Serial number and authority key identifier."""
        request = self._folder / "request.pem"
        openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            "/dev/null", "-out", request, "-subj", f"/CN={name}",
        )  # fmt: skip
        said = json.loads(
            self.run(
                "sign", f"-ca={self._folder / 'ca.pem'}", f"-ca-key={self._folder / 'ca.key'}",
                f"-config={self._folder / 'config.json'}", f"-hostname={name}", request,
            )
        )  # fmt: skip
        made = read(openssl("x509", "-outform", "DER", given=said["cert"].encode()))
        assert made.serial_number is not None
        # Debian's version leaves it empty when it signs, and insists on it when it revokes.
        authority = (made.authority_key_id or b"").hex()
        self.server.run(f"UPDATE certificates SET authority_key_identifier = '{authority}'")  # noqa: S608
        return made.serial_number, authority


@pytest.fixture(params=["postgres", "maria", "sqlite"])
def certdb(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return (
        SQLiteFile(tmp_path / "certs.db")
        if request.param == "sqlite"
        else request.getfixturevalue(request.param)
    )


async def test_what_cfssl_writes_is_read(
    certdb: DatabaseServer | SQLiteFile, tried: Tried, tmp_path: Path
) -> None:
    cfssl = Cfssl(certdb, tmp_path)
    serial, _ = cfssl.issue("one.example")
    other, authority = cfssl.issue("two.example")
    tried.clock.now = datetime.now(UTC)
    rounds = Rounds(tried, preset="cfssl", url=certdb.url(), authorities=[str(tmp_path / "ca.pem")])
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    records = {
        each.chain[0].serial_number: each for each in tried.reader.live() if each.location.kind == "cadb"
    }
    assert set(records) == {serial, other}
    assert records[serial].chain[0].names == ("dns:one.example",)
    assert records[serial].facts["ca_status"] == "issued"
    assert [each.subject for each in rounds.database.chain] == ["CN=Corp CA"]

    await rounds.round()
    assert rounds.told == []
    cfssl.run("revoke", f"-serial={other}", f"-aki={authority}", "-reason=superseded")
    await rounds.round()
    (revoked,) = [each for each in tried.reader.live() if each.facts.get("ca_status") == "revoked"]
    assert revoked.chain[0].serial_number == other
    assert revoked.facts["revocation_reason"] == "superseded"
    assert str(revoked.facts["revoked_at"])[:10] == f"{datetime.now(UTC):%Y-%m-%d}"


async def test_a_certdb_of_the_second_migration_tells_what_is_new_only(
    server: DatabaseServer, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = server.url().partition(":")[0]
    more = "timestamptz" if kind == "postgresql" else "timestamp NULL"
    server.run(
        "DROP TABLE IF EXISTS certificates",
        CFSSL[kind],
        f"ALTER TABLE certificates ADD COLUMN issued_at {more}",
    )
    grant(server, "certificates")

    def add(serial: int, issued_at: datetime | None) -> None:
        with server.administrator() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO certificates (serial_number, authority_key_identifier, status, reason, expiry, pem,"
                    " issued_at) VALUES (:serial, :aki, :good, 0, :end, :pem, :issued_at)"
                ),
                {
                    "serial": str(serial).encode(),
                    "aki": b"00ff",
                    "good": b"good",
                    "end": (EPOCH + 60 * DAY).replace(tzinfo=None),
                    "pem": issued(serial).pem,
                    "issued_at": issued_at and issued_at.replace(tzinfo=None),
                },
            )

    add(1, None)
    add(2, EPOCH - DAY)
    rounds = Rounds(tried, preset="cfssl", url=server.url())
    await rounds.round()
    assert rounds.live() == [at(1), at(2)]
    add(3, EPOCH + timedelta(minutes=20))
    scan = await rounds.round()
    assert at(3) in rounds.told
    assert at(1) not in rounds.told
    assert scan.status == "complete"
    server.run(
        "UPDATE certificates SET status = 'revoked', reason = 1, revoked_at = '2026-11-01 12:40:00' WHERE serial_number = '1'"
    )
    await rounds.round()
    assert at(1) in rounds.told
    assert tried.served(at(1)).facts["revocation_reason"] == "keyCompromise"
    assert rounds.live() == [at(1), at(2), at(3)]
    # More than a page of new ones.
    monkeypatch.setattr(cfssl_tables, "PAGE", 2)
    several = range(11, 16)
    for number in several:
        add(number, EPOCH + timedelta(minutes=50))
    await rounds.round()
    assert {at(number) for number in several} <= set(rounds.told)
    assert at(2) not in rounds.told
    assert rounds.live() == sorted([at(1), at(2), at(3), *(at(number) for number in several)])
    server.run("DELETE FROM certificates WHERE serial_number <> '1' AND serial_number <> '2'")
    await rounds.round()
    assert rounds.live() == [at(1), at(2)]
    assert "ca_went_back_at" in rounds.database.facts


async def test_a_schema_of_another_version_is_told_by_the_column_it_lacks(
    server: DatabaseServer, tried: Tried
) -> None:
    server.run("DROP TABLE IF EXISTS certificates", "CREATE TABLE certificates (serial_number int, pem int)")
    grant(server, "certificates")
    scan = await Rounds(tried, preset="cfssl", url=server.url()).round()
    assert scan.error is not None
    assert "has no column authority_key_identifier" in scan.error.message
    assert scan.error.kind == "malformed"
