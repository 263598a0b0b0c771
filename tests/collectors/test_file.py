"""Certificate files as they are found on real machines."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.location import LocationURI, file_location, url_location
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, collect, make_ca, make_certificate
from collectors.file import FileCollector, FileConfig

pytestmark = pytest.mark.anyio

ROOT = make_ca()
INTERMEDIATE = make_ca("Test Intermediate", issuer=ROOT, key_number=101)
LEAF = make_certificate(issuer=INTERMEDIATE)
OTHER = make_certificate(names=("dns:other.example.com",), key_number=2)


async def look(*paths: Path | str, **config: Any) -> list[Observation]:
    results = await collect(FileCollector, {"paths": [str(path) for path in paths], **config})
    return [each for each in results if isinstance(each, Observation)]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


async def test_a_chain_is_presented_as_it_stands_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "site.pem", LEAF.chain_pem)
    (found,) = await look(path)
    assert found.location == file_location(str(path))
    assert found.chain == LEAF.chain_der
    assert found.facts == {"arrangement": "chain"}
    assert found.error is None


async def test_der_is_read_too(tmp_path: Path) -> None:
    (found,) = await look(write(tmp_path / "site.der", LEAF.der))
    assert found.chain == (LEAF.der,)


async def test_unrelated_certificates_are_a_bundle(tmp_path: Path) -> None:
    (found,) = await look(write(tmp_path / "roots.pem", ROOT.pem + make_ca("Other", key_number=108).pem))
    assert (len(found.chain), found.facts["arrangement"]) == (2, "bundle")


async def test_stars_stay_within_a_folder_and_double_stars_do_not(tmp_path: Path) -> None:
    write(tmp_path / "a.pem", LEAF.pem)
    write(tmp_path / "sub" / "deep" / "b.pem", OTHER.pem)
    assert len(await look(tmp_path / "*.pem")) == 1
    assert len(await look(tmp_path / "**" / "*.pem")) == 2
    assert len(await look(tmp_path)) == 2
    assert len(await look(tmp_path / "**")) == 2


async def test_what_is_excluded_is_left_out_with_all_below_it(tmp_path: Path) -> None:
    write(tmp_path / "a.pem", LEAF.pem)
    write(tmp_path / "old" / "b.pem", OTHER.pem)
    write(tmp_path / "old.d" / "c.pem", OTHER.pem)
    found = await look(tmp_path, exclude=[str(tmp_path / "old")])
    assert len(found) == 2


async def test_a_key_in_the_same_file_is_compared_and_dropped(tmp_path: Path) -> None:
    (good,) = await look(write(tmp_path / "good.pem", LEAF.pem + LEAF.key_pem))
    assert good.facts["key_match"] is True
    (bad,) = await look(write(tmp_path / "bad.pem", OTHER.key_pem + LEAF.pem))
    assert bad.facts["key_match"] is False


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("live/x/fullchain.pem", "live/x/privkey.pem"),
        ("x.crt", "x.key"),
        ("certs/x.pem", "private/x.key"),
        ("tls.crt", "tls.key"),
    ],
)
async def test_a_key_beside_it_by_the_usual_conventions_is_compared(
    tmp_path: Path, certificate: str, key: str
) -> None:
    path = write(tmp_path / certificate, LEAF.chain_pem)
    write(tmp_path / key, OTHER.key_pem)
    (found,) = await look(path)
    assert found.facts["key_match"] is False


async def test_damage_keeps_the_good_certificates_of_the_same_file(tmp_path: Path) -> None:
    cut = LEAF.pem[: len(LEAF.pem) // 2] + b"\n"
    (found,) = await look(write(tmp_path / "site.pem", cut + ROOT.pem))
    assert found.chain == (ROOT.der,)
    assert found.error is not None
    assert found.error.kind == "malformed"
    assert found.error.message.endswith("site.pem: CERTIFICATE at line 1 has no END line: it is cut off")


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("empty.crt", b"", "no-certificate"),
        ("junk.crt", os.urandom(2000), "no-certificate"),
        ("cut.der", LEAF.der[:-100], "malformed"),
        ("huge.pem", b"x" * 2_000_000, "malformed"),
    ],
)
async def test_what_should_hold_a_certificate_and_does_not_says_so_once(
    tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    path = write(tmp_path / name, data)
    (found,) = await look(tmp_path, max_bytes=1_000_000)
    assert found.error is not None
    assert found.error.kind == kind
    assert str(path) in found.error.message


async def test_files_of_other_kinds_found_on_the_way_are_nothing(tmp_path: Path) -> None:
    write(tmp_path / "key.pem", LEAF.key_pem)
    write(tmp_path / "dhparam.pem", b"-----BEGIN DH PARAMETERS-----\nMIIB\n-----END DH PARAMETERS-----\n")
    write(tmp_path / "README", b"text")
    write(tmp_path / "blob", os.urandom(5000))
    assert await look(tmp_path) == []


async def test_a_named_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (found,) = await look(tmp_path / "gone.pem")
    assert found.error is not None
    assert found.error.kind == "not-found"


async def test_a_dangling_link_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "site.pem").symlink_to(tmp_path / "gone")
    (found,) = await look(tmp_path)
    assert found.error is not None
    assert "its target is gone" in found.error.message


async def test_loops_of_links_end(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.pem", LEAF.pem)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    locations = {each.location for each in await look(tmp_path)}
    assert file_location(str(tmp_path / "a" / "x.pem")) in locations
    assert len(locations) <= 2


async def test_pipes_and_devices_are_never_opened_for_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pem")
    (tmp_path / "null.pem").symlink_to("/dev/zero")
    assert await look(tmp_path) == []


async def test_an_atomic_swap_keeps_the_place_and_shows_the_new_certificate(tmp_path: Path) -> None:
    """Kubernetes mounts a Secret so: tls.crt -> ..data/tls.crt, ..data -> ..2026_11_23, swapped by a rename."""
    write(tmp_path / "..2026_1" / "tls.crt", LEAF.pem)
    write(tmp_path / "..2026_2" / "tls.crt", OTHER.pem)
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    clock = CollectorContext(clock=FakeClock())
    collector = FileCollector("x", FileConfig(paths=(str(tmp_path),)), clock)
    first = [each async for each in collector.collect()]
    (tmp_path / "..new").symlink_to("..2026_2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    second = [each async for each in collector.collect()]
    assert [each.location for each in first if isinstance(each, Observation)] == [
        file_location(str(tmp_path / "tls.crt"))
    ]
    (after,) = second
    assert isinstance(after, Observation)
    assert after.chain == (OTHER.der,)


async def test_a_folder_that_cannot_be_listed_makes_its_pattern_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may list everything, so the refusal is the system call's here."""
    write(tmp_path / "open.pem", LEAF.pem)
    closed = tmp_path / "closed"
    closed.mkdir()
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    results = await collect(FileCollector, {"paths": [str(tmp_path)]})
    incomplete = [each for each in results if isinstance(each, Incomplete)]
    assert [each.error.kind for each in incomplete] == ["permission"]
    assert incomplete[0].scope == str(tmp_path)
    assert len(results) == 2


async def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "site.pem", LEAF.pem)
    collector = FileCollector("x", FileConfig(paths=(str(path),)), CollectorContext(clock=FakeClock()))
    first = [each async for each in collector.collect()]
    reads: list[str] = []
    real = os.open

    def opened(path: str, *rest: Any) -> int:
        reads.append(path)
        return real(path, *rest)

    monkeypatch.setattr(os, "open", opened)
    assert [each async for each in collector.collect()] == first
    assert reads == []
    shutil.copy(write(tmp_path / "new", OTHER.pem), path)
    (changed,) = [each async for each in collector.collect()]
    assert isinstance(changed, Observation)
    assert changed.chain == (OTHER.der,)


async def test_a_name_that_is_not_utf8_is_a_place_like_any_other(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9\n.pem"
    write(Path(os.fsdecode(raw)), LEAF.pem)
    (found,) = await look(tmp_path)
    assert found.location.endswith("/caf%E9%0A.pem")


async def test_folders_nested_without_end_cost_their_own_branch_and_nothing_else(tmp_path: Path) -> None:
    """A thousand folders in one another once ended the whole scan: the walk recursed with them."""
    write(tmp_path / "good.pem", LEAF.pem)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(300):
            os.mkdir("a", dir_fd=fd)
            inner = os.open("a", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
    finally:
        os.close(fd)
    results = await collect(FileCollector, {"paths": [str(tmp_path)]})
    assert [type(each) for each in results if isinstance(each, Observation)] == [Observation]
    (incomplete,) = [each for each in results if isinstance(each, Incomplete)]
    assert "more than 100 folders deep" in incomplete.error.message


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/etc/ssl/certs/site.pem", True),
        ("/etc/ssl/certs/deep/er/site.pem", True),
        ("/srv/tls/any/thing", True),
        ("/srv/other.pem", False),
        ("/etc/ssl/certs/site.key", False),
        ("/etc/ssl/certs/../../shadow.pem", False),
    ],
)
def test_it_tells_where_its_patterns_lead(path: str, leads: bool) -> None:
    def asked(*paths: str, place: LocationURI = file_location(path, "entry")) -> bool | None:  # noqa: B008
        config = FileConfig(paths=paths, urls=("https://pki.example.com/a.pem",))  # type: ignore[arg-type]
        return FileCollector("hosts", config, CollectorContext(clock=FakeClock())).leads_to(place)

    assert asked("/etc/ssl/certs/**/*.pem", "/srv/tls") is leads
    # Whose home, only the worker knows.
    assert asked("/etc/ssl/certs/**/*.pem", "/srv/tls", "~/x.pem") is (
        None if not leads and ".." not in path else leads
    )
    assert asked("/x", place=url_location("https://pki.example.com/a.pem", "entry")) is True
    assert asked("/x", place=url_location("https://pki.example.com/b.pem")) is False
