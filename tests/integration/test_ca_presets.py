# ruff: noqa: S608 - statements are put together from our own text
"""Tables of step-ca, EJBCA and Boulder on real servers. The programs are not in Debian: schema and rows are written from
the projects' own SQL and documentation."""

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ca_database.skim import issuer_tag
from tests.support.ca_rounds import Rounds
from tests.support.databases import READER, DatabaseServer
from tests.support.inventories import Tried

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

ROOT = make_ca()
OTHER = make_ca("Other Root", key_number=101)
DAY = timedelta(days=1)


@pytest.fixture(params=["postgres", "maria"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def issued(serial: int, by: Issued = ROOT) -> Issued:
    return make_certificate(issuer=by, serial_number=serial, names=(f"dns:host-{serial}.example",))


def at(serial: str, by: Issued = ROOT) -> str:
    return f"cadb://corp/{serial}?ca={issuer_tag(read(by.der).subject_der or b'')}"


def is_postgres(server: DatabaseServer) -> bool:
    return server.url().startswith("postgresql")


def made(server: DatabaseServer, tables: dict[str, str]) -> None:
    """Dropped first; the reader may select."""
    host = "" if is_postgres(server) else "@'127.0.0.1'"
    for name, columns in tables.items():
        server.run(
            f"DROP TABLE IF EXISTS {name}",
            f"CREATE TABLE {name} ({columns})",
            f"GRANT SELECT ON {name} TO {READER}{host}",
        )


def put(server: DatabaseServer, table: str, **values: object) -> None:
    with server.administrator() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)})"
            ),
            values,
        )


# step-ca: keys and values.


def step(server: DatabaseServer, *names: str) -> None:
    columns = (
        "nkey BYTEA CHECK (octet_length(nkey) <= 255), nvalue BYTEA, PRIMARY KEY (nkey)"
        if is_postgres(server)
        else "nkey VARBINARY(255), nvalue BLOB, PRIMARY KEY (nkey)"
    )
    server.run(*[f"DROP TABLE IF EXISTS {name}" for name in ("x509_certs_data", "revoked_x509_certs")])
    made(server, dict.fromkeys(names, columns))


async def test_step_ca_is_read_with_its_provisioners_and_revocations(
    server: DatabaseServer, tried: Tried
) -> None:
    step(server, "x509_certs", "x509_certs_data", "revoked_x509_certs")
    for serial in (10, 256):
        put(server, "x509_certs", nkey=str(serial).encode(), nvalue=issued(serial).der)
    data = json.dumps({"provisioner": {"id": "p1", "name": "acme-web", "type": "ACME"}})
    put(server, "x509_certs_data", nkey=b"10", nvalue=data.encode())
    rounds = Rounds(tried, preset="step-ca", url=server.url())
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert tried.served(at("0a")).facts == {"ca_status": "issued", "ca_profile": "acme-web"}
    await rounds.round()
    assert rounds.told == []
    why = {
        "Serial": "256", "ProvisionerID": "p1", "ReasonCode": 4, "Reason": "", "RevokedAt": "2026-11-01T12:20:00.123456789Z",
        "ExpiresAt": "2026-12-31T00:00:00Z", "TokenID": "", "MTLS": False, "ACME": False,
    }  # fmt: skip
    put(server, "revoked_x509_certs", nkey=b"256", nvalue=json.dumps(why).encode())
    await rounds.round()
    facts = tried.served(at("0100")).facts
    assert (facts["ca_status"], facts["revocation_reason"]) == ("revoked", "superseded")
    assert facts["revoked_at"] == "2026-11-01T12:20:00Z"
    server.run("DELETE FROM x509_certs WHERE nkey = '256'")
    await rounds.round()
    assert rounds.live() == [at("0a")]
    assert "ca_went_back_at" in rounds.database.facts


async def test_a_step_ca_that_has_not_revoked_yet_and_rows_that_are_broken(
    server: DatabaseServer, tried: Tried
) -> None:
    step(server, "x509_certs")
    put(server, "x509_certs", nkey=b"11", nvalue=issued(11).der)
    put(server, "x509_certs", nkey=b"\xff\x00", nvalue=b"")
    put(server, "x509_certs", nkey=b"12", nvalue=b"garbage")
    rounds = Rounds(tried, preset="step-ca", url=server.url())
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 2)
    assert set(rounds.live()) == {at("0b"), "cadb://corp/0c", "cadb://corp/key-ff00"}


# EJBCA: PostgreSQL folds names, MariaDB does not.

EJBCA_COLUMNS = (
    "fingerprint {text} NOT NULL, base64Cert {long}, cAFingerprint {text}, certificateProfileId INT NOT NULL,"
    " expireDate BIGINT NOT NULL, issuerDN {text} NOT NULL, revocationDate BIGINT NOT NULL, revocationReason INT NOT NULL,"
    " rowVersion INT NOT NULL, serialNumber {text} NOT NULL, status INT NOT NULL, subjectDN {text} NOT NULL, tag {text},"
    " type INT NOT NULL, updateTime BIGINT NOT NULL, username {text}, PRIMARY KEY (fingerprint)"
)


def ejbca(server: DatabaseServer) -> None:
    kinds = (
        {"text": "TEXT", "long": "TEXT"}
        if is_postgres(server)
        else {"text": "VARCHAR(250)", "long": "LONGTEXT"}
    )
    made(
        server,
        {
            "CertificateData": EJBCA_COLUMNS.format(**kinds),
            "Base64CertData": "fingerprint {text} NOT NULL, base64Cert {long}, rowVersion INT NOT NULL,"
            " PRIMARY KEY (fingerprint)".format(**kinds),
            "CertificateProfileData": "id INT NOT NULL, certificateProfileName {text} NOT NULL, PRIMARY KEY (id)".format(
                **kinds
            ),
        },
    )


def ejbca_row(
    server: DatabaseServer, serial: int, *, changed: float, apart: bool = False, **more: object
) -> None:
    certificate = issued(serial)
    body = "".join(certificate.pem.decode().splitlines()[1:-1])
    values: dict[str, object] = {
        "fingerprint": f"{serial:040x}",
        "base64Cert": None if apart else body,
        "cAFingerprint": "aa",
        "certificateProfileId": 9,
        "expireDate": int((EPOCH + 60 * DAY).timestamp() * 1000),
        "issuerDN": "CN=Test Root",
        "revocationDate": -1,
        "revocationReason": -1,
        "rowVersion": 0,
        "serialNumber": str(serial),
        "status": 20,
        "subjectDN": "CN=x",
        "type": 1,
        "updateTime": int((EPOCH + timedelta(minutes=changed)).timestamp() * 1000),
        "username": "alice",
        **more,
    }
    put(server, "CertificateData", **values)
    if apart:
        put(server, "Base64CertData", fingerprint=f"{serial:040x}", base64Cert=body, rowVersion=0)


async def test_ejbca_is_read_wherever_it_keeps_the_certificate(server: DatabaseServer, tried: Tried) -> None:
    ejbca(server)
    put(server, "CertificateProfileData", id=9, certificateProfileName="SERVER")
    ejbca_row(server, 10, changed=-60)
    ejbca_row(server, 11, changed=-50, apart=True)
    ejbca_row(server, 12, changed=-40, status=21)
    rounds = Rounds(tried, preset="ejbca", url=server.url())
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert rounds.live() == [at("0a"), at("0b"), at("0c")]
    facts = tried.served(at("0c")).facts
    assert facts == {"ca_status": "issued", "ca_requester": "alice", "ca_profile": "SERVER"}
    await rounds.round()
    assert rounds.told == []

    when = int((EPOCH + timedelta(minutes=25)).timestamp() * 1000)
    server.run(
        f"UPDATE CertificateData SET status = 40, revocationReason = 6, revocationDate = {when}, updateTime = {when}"
        " WHERE serialNumber = '10'"
    )
    ejbca_row(server, 13, changed=26)
    await rounds.round()
    # And perhaps what was changed shortly before: clocks of several nodes differ, so that is read once more.
    assert {at("0a"), at("0d")} <= set(rounds.told) <= {at("0a"), at("0c"), at("0d")}
    held = tried.served(at("0a")).facts
    assert (held["revocation_reason"], held["revoked_at"]) == ("certificateHold", "2026-11-01T12:25:00Z")
    # Released: the status is back, and so is the reason.
    later = when + 900_000
    server.run(
        f"UPDATE CertificateData SET status = 20, revocationReason = 8, updateTime = {later} WHERE serialNumber = '10'"
    )
    await rounds.round()
    assert tried.served(at("0a")).facts["ca_status"] == "issued"


async def test_an_ejbca_before_the_column_that_is_needed_is_told_by_it(
    server: DatabaseServer, tried: Tried
) -> None:
    made(
        server, {"CertificateData": "fingerprint varchar(40), base64Cert text, serialNumber text, status int"}
    )
    scan = await Rounds(tried, preset="ejbca", url=server.url()).round()
    assert scan.error is not None
    assert "has no column revocationDate" in scan.error.message


# Boulder runs on MariaDB.

BOULDER = {
    "certificates": "id bigint NOT NULL AUTO_INCREMENT, registrationID bigint NOT NULL, serial varchar(255) NOT NULL,"
    " digest varchar(255) NOT NULL, der mediumblob NOT NULL, issued datetime NOT NULL, expires datetime NOT NULL,"
    " PRIMARY KEY (id), UNIQUE KEY serial (serial)",
    "certificateStatus": "id bigint NOT NULL AUTO_INCREMENT, serial varchar(255) NOT NULL, status varchar(255) NOT NULL,"
    " ocspLastUpdated datetime NOT NULL, revokedDate datetime NOT NULL, revokedReason int NOT NULL,"
    " lastExpirationNagSent datetime NOT NULL, notAfter datetime, isExpired tinyint DEFAULT 0, issuerID bigint,"
    " PRIMARY KEY (id), UNIQUE KEY serial (serial)",
}


def boulder_row(server: DatabaseServer, serial: int, by: Issued = ROOT) -> None:
    shown = f"{serial:036x}"
    end = (EPOCH + 60 * DAY).replace(tzinfo=None)
    zero = "1000-01-01 00:00:00"
    put(
        server, "certificates", registrationID=7, serial=shown, digest="d", der=issued(serial, by).der,
        issued=EPOCH.replace(tzinfo=None), expires=end,
    )  # fmt: skip
    put(
        server, "certificateStatus", serial=shown, status="good", ocspLastUpdated=zero, revokedDate=zero,
        revokedReason=0, lastExpirationNagSent=zero, notAfter=end, issuerID=1,
    )  # fmt: skip


async def test_boulder_is_read_by_its_ids_and_its_revocations(maria: DatabaseServer, tried: Tried) -> None:
    made(maria, BOULDER)
    boulder_row(maria, 0x0300)
    boulder_row(maria, 0x0301, OTHER)
    rounds = Rounds(tried, preset="boulder", url=maria.url())
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert rounds.live() == [at("0300"), at("0301", OTHER)]
    assert tried.served(at("0300")).facts == {"ca_status": "issued", "ca_requester": "account 7"}
    await rounds.round()
    assert rounds.told == []
    maria.run(
        "UPDATE certificateStatus SET status = 'revoked', revokedReason = 1, revokedDate = '2026-11-01 12:20:00'"
        f" WHERE serial = '{0x0300:036x}'"
    )
    boulder_row(maria, 0x0302)
    scan = await rounds.round()
    assert at("0302") in rounds.told
    assert tried.served(at("0300")).facts["revocation_reason"] == "keyCompromise"
    assert scan.status == "complete"
    # Restored, and gone on: the last id is another certificate's now.
    maria.run("DELETE FROM certificates WHERE id = 3")
    maria.run("ALTER TABLE certificates AUTO_INCREMENT = 3")
    boulder_row(maria, 0x0399)
    await rounds.round()
    assert at("0302") not in rounds.live()
    assert "ca_went_back_at" in rounds.database.facts
