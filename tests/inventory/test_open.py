"""From an address to an inventory; what is not one is left as it is."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.inventory.store import InventoryError, InventoryErrorKind
from certwatch.inventory.versions import VERSION


def refused(url: str, *, create: bool = True) -> tuple[InventoryErrorKind, str]:
    with pytest.raises(InventoryError) as caught:
        open_inventory(url, create=create)
    return caught.value.kind, caught.value.message


def test_file_and_folder_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "inventory.db"
    store = open_inventory(f"sqlite://{path}")
    writer = store.writer()
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    writer.close()
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_three_slashes_or_four_are_the_same_absolute_path(tmp_path: Path) -> None:
    open_inventory(f"sqlite:///{tmp_path}/a.db")
    assert (tmp_path / "a.db").exists()
    open_inventory(f"sqlite://{tmp_path}/b.db")
    assert (tmp_path / "b.db").exists()


def test_odd_characters_in_the_path_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=memory#%41&ü.db"
    open_inventory(f"sqlite://{path}").reader().close()
    assert path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "inventory.db",
        "/var/lib/inventory.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://relative",
        "mysql://x/y",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    kind, message = refused(url)
    assert kind == "other"
    assert "sqlite:///path/to/inventory.db" in message


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        (
            "postgresql://certwatch:secret@127.0.0.1:1/certwatch",
            "unreachable",
            "127.0.0.1:1/certwatch: no connection",
        ),
        ("postgres://certwatch:secret@127.0.0.1:secret/x", "other", "not an address that libpq understands"),
        (
            "postgresql://127.0.0.1/x?password=secret&colour=secret",
            "other",
            "not an address that libpq understands",
        ),
    ],
)
def test_a_server_that_cannot_be_had_is_said_without_its_password(url: str, kind: str, said: str) -> None:
    told, message = refused(url)
    assert (told, "secret" in message) == (kind, False)
    assert said in message


def test_a_missing_file_is_not_made_by_who_only_reads(tmp_path: Path) -> None:
    kind, message = refused(f"sqlite://{tmp_path}/none.db", create=False)
    assert (kind, f"{tmp_path}/none.db" in message) == ("not-found", True)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_an_inventory(tmp_path: Path) -> None:
    path = tmp_path / "inventory.db"
    path.touch()
    assert refused(f"sqlite://{path}", create=False)[0] == "not-inventory"
    open_inventory(f"sqlite://{path}")
    open_inventory(f"sqlite://{path}", create=False)


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
        other.commit()
    before = path.read_bytes()
    kind, message = refused(f"sqlite://{path}")
    assert (kind, str(path) in message) == ("not-inventory", True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["places.sqlite"]


@pytest.mark.parametrize("content", [b"-----BEGIN CERTIFICATE-----\n" * 100, bytes(range(256)) * 32, b"x"])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.pem"
    path.write_bytes(content)
    assert refused(f"sqlite://{path}")[0] == "not-inventory"
    assert path.read_bytes() == content


def test_a_folder_is_no_inventory(tmp_path: Path) -> None:
    assert refused(f"sqlite://{tmp_path}")[0] in ("read-only", "other")


def test_an_inventory_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inventory.db"
    open_inventory(f"sqlite://{path}")
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    kind, message = refused(f"sqlite://{path}")
    assert kind == "newer"
    assert f"its schema is {VERSION + 1}" in message


def test_a_second_writer_of_this_process_is_refused(tmp_path: Path) -> None:
    store = open_inventory(f"sqlite://{tmp_path}/inventory.db")
    writer = store.writer()
    with pytest.raises(InventoryError, match="this process") as caught:
        store.writer()
    assert caught.value.kind == "locked"
    writer.close()
    writer.close()
    store.writer().close()


def test_readers_start_without_what_only_the_writer_needs(tmp_path: Path) -> None:
    # `certwatch list` over a million certificates has 300 ms, start-up included: sqlite-utils alone takes 85.
    url = f"sqlite://{tmp_path}/inventory.db"
    open_inventory(url)
    code = (
        "import sys; from datetime import datetime, UTC\n"
        "from certwatch.inventory import open_inventory; from certwatch.inventory.store import Query\n"
        f"reader = open_inventory({url!r}, create=False).reader()\n"
        "list(reader.list(Query(text='www.example.com'), datetime.now(UTC))); reader.close()\n"
        "print(*sorted({'sqlite_utils', 'msgspec', 'cryptography', 'prometheus_client', 'logging'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
