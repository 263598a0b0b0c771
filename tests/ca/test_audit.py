import sqlite3
from pathlib import Path

import pytest

from certwatch.ca import audit, database
from certwatch.ca.approvals import approve, submit
from certwatch.ca.crl import revoke
from certwatch.ca.failure import CAError
from certwatch.ct.merkle import leaf_hash
from tests.support.cas import authority, issued, order


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
