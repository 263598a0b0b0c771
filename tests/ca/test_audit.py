import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.ca import audit, crl, database, delegate, enrolment, rotation
from certwatch.ca.acme import accounts, jws, orders, renewal
from certwatch.ca.acme.identifiers import Identifier
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.ca.approvals import approve, refuse, submit
from certwatch.ca.crl import revoke
from certwatch.ca.failure import CAError
from certwatch.ct.merkle import leaf_hash
from certwatch.plugins.testing import FakeClock
from tests.support.acme import jwk, new_key
from tests.support.cas import URL, authority, issued, order


def lived(folder: Path) -> Path:
    """A CA with a little of everything behind it."""
    with authority(folder, intermediate=True, profiles={"client": {"approvals": 1}}) as ca:
        for number in range(5):
            issued(ca, f"dns:h{number}.example.com")
        revoke(ca, issued(ca).serial, "superseded", "alice")
        submit(ca, order(ca, "email:a@example.com", profile="client"))
        approve(ca, 8, "carol")
        submit(ca, order(ca, "email:b@example.com", profile="client"))
        return ca.settings.directory


def lived_long(folder: Path) -> Path:
    """One with a row in every table."""
    clock = FakeClock()
    with authority(
        folder,
        clock,
        intermediate=True,
        url=URL,
        crl_delta=True,
        has_responder=True,
        profiles={"client": {"approvals": 2}, "server": {"names": [{"dns": ".example.com"}]}},
    ) as ca:
        delegate.renew(ca, clock())
        first, second = issued(ca, "dns:a.example.com"), issued(ca, "dns:b.example.com")
        crl.refresh(ca)
        revoke(ca, first.serial, "superseded", "alice")
        submit(ca, order(ca, "email:a@example.com", profile="client"))
        submit(ca, order(ca, "email:b@example.com", profile="client"))
        refuse(ca, 7, "carol")
        token = enrolment.grant(
            ca, requester="w", profile="server", names=["dns:c.example.com"], lifetime=timedelta(hours=1), person="ann"
        )  # fmt: skip
        enrolment.use(ca, enrolment.read(ca, token))
        accounts.bind(ca, "team-a", "ann")
        accounts.bind(ca, "team-b", "ann")
        key = jws.load_key(jwk(new_key()))
        account, _ = accounts.create(ca, key, ("mailto:ops@example.com",), "team-a")
        accounts.create(ca, jws.load_key(jwk(new_key())), (), "team-b")
        accounts.unbind(ca, "team-b", "bob")
        made = orders.create(
            ca, AcmeSettings(), account, [Identifier("dns", "*.example.com")], "server", None
        )
        [part] = made.authorizations
        orders.begin(ca, part.id, "dns-01")
        begun = orders.authorization(ca, part.id)
        assert begun is not None
        orders.end(ca, begun, None)
        orders.create(ca, AcmeSettings(), account, [Identifier("dns", "x.example.com")], "server", None)
        renewal.call(ca, [bytes.fromhex(second.serial)], "drill", "ann")
        rotation.rotate(ca, rotation.plan(ca), by="ann")
        return ca.settings.directory


TAMPERED = [
    ("requests", "UPDATE requests SET wanted = replace(CAST(wanted AS TEXT), 'a@ex', 'b@ex') || '' WHERE id = 6", "request 6: was changed"),
    ("requests", "UPDATE requests SET requester = 'mallory' WHERE id = 6", "request 6: was changed"),
    ("requests", "UPDATE requests SET needed = 0 WHERE id = 6", "request 6: was changed"),
    ("requests", "UPDATE requests SET state = 'approved' WHERE id = 6", "request 6: its row says approved"),
    ("requests", "UPDATE requests SET state = 'waiting' WHERE id = 7", "request 7: its row says waiting"),
    ("approvals", "INSERT INTO approvals VALUES (6, 'mallory', 1)", "approval of request 6 by mallory: is not in the ledger"),
    ("certificates", "UPDATE certificates SET not_after = 1 WHERE names = 'dns:a.example.com'", "its row was changed"),
    ("certificates", "UPDATE certificates SET shard = 7 WHERE names = 'dns:a.example.com'", "its row was changed"),
    ("certificates", "UPDATE certificates SET issuer = 1 WHERE names = 'dns:a.example.com'", "its row was changed"),
    ("certificates", "UPDATE certificates SET requester = 'm' WHERE names = 'dns:a.example.com'", "its row was changed"),
    ("certificates", "UPDATE certificates SET revoked = revoked + 1 WHERE names = 'dns:a.example.com'", "another time of its revocation"),
    ("shards", "UPDATE shards SET certificates = 1 WHERE issuer = 2", "CRL 2/0: has 3 certificates"),
    ("issuers", "UPDATE issuers SET key = 'file:/mine' WHERE name = 'Test Issuing'", "issuer Test Issuing: its key"),
    ("issuers", "UPDATE issuers SET environment = 'production' WHERE name = 'Test Issuing'", "its environment"),
    ("issuers", "UPDATE issuers SET chain = x'00' WHERE name = 'Test Issuing'", "its chain"),
    ("issuers", "UPDATE issuers SET retired = 5 WHERE name = 'Test Root'", "its retirement"),
    ("issuers", "UPDATE issuers SET successor = NULL WHERE name = 'Test Issuing'", "its successor"),
    ("issuers", "UPDATE issuers SET kind = 'root' WHERE name = 'Test Issuing'", "its kind"),
    ("responders", "UPDATE responders SET key = 'file:/mine' WHERE issuer = 2", "responder of Test Issuing"),
    ("responders", "DELETE FROM responders WHERE issuer = 2", "responder of Test Issuing: its row was removed"),
    ("crls", "UPDATE crls SET der = x'30' WHERE issuer = 2", "CRL Test Issuing/0: is not the one"),
    ("crls", "UPDATE crls SET this_update = this_update + 1 WHERE issuer = 2", "CRL Test Issuing/0: is not the one"),
    ("crls", "DELETE FROM crls WHERE issuer = 2", "CRL Test Issuing/0: its row was removed"),
    ("delta_crls", "UPDATE delta_crls SET der = x'30' WHERE issuer = 2", "delta CRL Test Issuing/0"),
    ("crl_bases", "UPDATE crl_bases SET this_update = this_update + 9 WHERE issuer = 2", "its base is not"),
    ("enrolments", "DELETE FROM enrolments", "it could be used again"),
    ("enrolments", "UPDATE enrolments SET ends = 0", "another end"),
    ("acme_bindings", "UPDATE acme_bindings SET secret = x'00' WHERE kid = 'team-a'", "its secret or its maker"),
    ("acme_bindings", "UPDATE acme_bindings SET made_by = 'x' WHERE kid = 'team-a'", "its secret or its maker"),
    ("acme_bindings", "UPDATE acme_bindings SET ended = NULL WHERE kid = 'team-b'", "ACME binding team-b"),
    ("acme_accounts", "UPDATE acme_accounts SET key = x'7b7d' WHERE id = 1", "ACME account 1: its key"),
    ("acme_accounts", "UPDATE acme_accounts SET status = 'valid' WHERE id = 2", "ACME account 2: its status"),
    ("acme_accounts", "UPDATE acme_accounts SET contacts = '[]' WHERE id = 1", "ACME account 1: its status"),
    ("acme_orders", "UPDATE acme_orders SET account = 2 WHERE id = (SELECT \"order\" FROM acme_authorizations WHERE wildcard)", "gives it to account 2"),
    ("acme_authorizations", "UPDATE acme_authorizations SET status = 'valid' WHERE status = 'pending'", "its row says valid"),
    ("acme_authorizations", "UPDATE acme_authorizations SET value = 'evil.example' WHERE wildcard", "its row says valid"),
    ("acme_renew_now", "DELETE FROM acme_renew_now", "its client was told to renew"),
    ("acme_renew_now", "UPDATE acme_renew_now SET why = 'x'", "its client was told to renew"),
    ("meta", "UPDATE meta SET value = value - 1 WHERE key = 'last'", "meta last"),
    ("meta", "UPDATE meta SET value = x'5b302c5b5d5d' WHERE key = 'tree'", "meta tree"),
    ("nodes", "INSERT INTO nodes VALUES (1, 9, x'00')", "tile hash 1/9"),
    ("checkpoints", "UPDATE checkpoints SET note = '' WHERE size = 1", "checkpoint 1"),
    ("ledger", "UPDATE ledger SET entry = x'7b7d' WHERE position = 3", "ledger entry 3"),
]  # fmt: skip


@pytest.fixture(scope="module")
def long_life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lived_long(tmp_path_factory.mktemp("long"))


def test_every_table_is_proven(long_life: Path) -> None:
    """What is of no consequence stands here by name: a table that is new is to be proven, or to be added."""
    with closing(sqlite3.connect(database.file_of(long_life))) as connection:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    # cross_certificates: nothing writes or reads it.
    assert tables - {"sqlite_sequence", "cross_certificates"} == {table for table, _, _ in TAMPERED}
    assert audit.verify(long_life).wrong == []


@pytest.mark.parametrize(("table", "sql", "says"), TAMPERED)
def test_a_row_that_was_tampered_with_is_named_in_each_table(
    long_life: Path, tmp_path: Path, table: str, sql: str, says: str
) -> None:
    copy = tmp_path / "ca"
    shutil.copytree(long_life, copy)
    if "|| ''" in sql:
        sql = sql.replace("SET wanted = replace(CAST(wanted AS TEXT), 'a@ex', 'b@ex') || ''", "SET wanted = CAST(replace(CAST(wanted AS TEXT), 'a@ex', 'b@ex') AS BLOB)")  # fmt: skip
    connection = sqlite3.connect(database.file_of(copy))
    assert connection.execute(sql).rowcount >= 1
    connection.commit()
    connection.close()
    wrong = audit.verify(copy).wrong
    assert any(says in each for each in wrong), wrong


def tamper(directory: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(database.file_of(directory))
    assert connection.execute(sql, values).rowcount == 1
    connection.commit()
    connection.close()


def test_an_honest_ledger_is_whole(tmp_path: Path) -> None:
    found = audit.verify(lived(tmp_path))
    assert found.wrong == []
    assert found.entries > 20
    assert found.certificates == 8


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE ledger SET entry = replace(CAST(entry AS TEXT), 'h2', 'h9') || x'' WHERE position = 9", "ledger entry 9"),
        ("DELETE FROM ledger WHERE position = 7", "ledger entry 7: is missing"),
        ("DELETE FROM ledger WHERE position = (SELECT max(position) FROM ledger)", "are missing: a checkpoint"),
        ("UPDATE certificates SET names = 'dns:x', der = x'3000' WHERE names = 'dns:h3.example.com'", "was changed: it is not the one"),
        ("DELETE FROM certificates WHERE names = 'dns:h3.example.com'", "its row was removed"),
        ("UPDATE certificates SET revoked = NULL, reason = NULL WHERE revoked IS NOT NULL", "its row says not revoked, the ledger superseded"),
        ("UPDATE certificates SET revoked = 1, reason = 'superseded' WHERE names = 'dns:h1.example.com'", "its row says superseded"),
        ("UPDATE approvals SET person = 'mallory'", "approval of request 8 by"),
        ("DELETE FROM approvals", "approval of request 8 by carol: was removed"),
        ("DELETE FROM requests WHERE id = 9", "request 9: was removed"),
        ("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)", "no checkpoint was signed over them"),
        ("UPDATE checkpoints SET note = replace(note, char(10) || size || char(10), char(10) || '3' || char(10)) WHERE size = 5", "checkpoint 5"),
        ("DELETE FROM issuers WHERE name = 'Test Issuing'", "issuer Test Issuing: its row was removed"),
        ("UPDATE issuers SET certificate = x'30' WHERE name = 'Test Root'", "issuer Test Root"),
    ],
)  # fmt: skip
def test_a_changed_or_missing_row_is_named(tmp_path: Path, sql: str, says: str) -> None:
    directory = lived(tmp_path)
    if "|| x''" in sql:
        sql = sql.replace(
            "replace(CAST(entry AS TEXT), 'h2', 'h9') || x''", "CAST(CAST(entry AS TEXT) || ' ' AS BLOB)"
        )
    tamper(directory, sql)
    wrong = audit.verify(directory).wrong
    assert any(says in each for each in wrong), wrong


def test_who_changes_the_hash_as_well_is_found_by_the_next_checkpoint(tmp_path: Path) -> None:
    directory = lived(tmp_path)
    connection = sqlite3.connect(database.file_of(directory))
    [(entry,)] = connection.execute("SELECT entry FROM ledger WHERE position = 9").fetchall()
    changed = entry.replace(b"h0", b"h8")
    connection.close()
    tamper(directory, "UPDATE ledger SET entry = ?, leaf = ? WHERE position = 9", changed, leaf_hash(changed))
    wrong = audit.verify(directory).wrong
    if changed != entry:
        assert any(
            ("at least one was changed" in each and " to 9:" in each) or " to 1" in each for each in wrong
        ), wrong


def test_a_ledger_cut_short_together_with_its_checkpoints_signs_nothing_more(tmp_path: Path) -> None:
    directory = lived(tmp_path)
    connection = sqlite3.connect(database.file_of(directory))
    connection.execute("DELETE FROM ledger WHERE position > 10")
    connection.execute("DELETE FROM checkpoints WHERE size > 11")
    connection.commit()
    connection.close()
    with pytest.raises(CAError) as raised, authority(tmp_path):
        pass
    assert raised.value.kind == "ledger"
    assert audit.verify(directory).wrong


def test_it_reads_beside_a_ca_at_work(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        issued(ca)
        assert audit.verify(ca.settings.directory).wrong == []
        issued(ca)
        assert audit.verify(ca.settings.directory).certificates == 2


def test_where_there_is_no_ca_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(CAError) as raised:
        audit.verify(tmp_path)
    assert raised.value.kind == "not-found"


def test_a_file_of_an_older_version_is_brought_up_before_it_is_verified(tmp_path: Path) -> None:
    directory = lived(tmp_path)
    connection = sqlite3.connect(database.file_of(directory))
    connection.execute("ALTER TABLE acme_bindings DROP COLUMN made_by")
    connection.execute("PRAGMA user_version = 4")
    connection.commit()
    connection.close()
    with pytest.raises(CAError, match="older version") as raised:
        audit.verify(directory)
    assert raised.value.kind == "usage"
    with authority(tmp_path, intermediate=True, profiles={"client": {"approvals": 1}}):
        pass
    assert audit.verify(directory).wrong == []
