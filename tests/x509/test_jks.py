"""JKS and JCEKS as keytool writes them (tests/data/keystores/make.sh), and as an attacker does."""

import hashlib
import struct
import time
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509 import der
from certwatch.x509.containers import Container
from certwatch.x509.jks import looks_like, read

STORES = Path(__file__).parents[1] / "data/keystores"
JKS, JCEKS = ((STORES / f"keytool.{kind}").read_bytes() for kind in ("jks", "jceks"))
ROOT = make_ca()
LEAF = make_certificate(issuer=ROOT)


def summary(found: Container) -> list[tuple[str, int, str | None]]:
    return [(entry.name, len(entry.certificates), entry.key) for entry in found.entries]


def text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def certificate(data: bytes, kind: str = "X.509") -> bytes:
    return text(kind) + struct.pack(">I", len(data)) + data


def trusted(alias: str, data: bytes = ROOT.der, kind: str = "X.509") -> bytes:
    return struct.pack(">I", 2) + text(alias) + bytes(8) + certificate(data, kind)


def store(*entries: bytes, count: int | None = None, magic: int = 0xFEEDFEED) -> bytes:
    said = len(entries) if count is None else count
    contents = struct.pack(">III", magic, 2, said) + b"".join(entries)
    return contents + hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + contents).digest()  # noqa: S324


@pytest.mark.parametrize(("data", "kind"), [(JKS, "jks"), (JCEKS, "jceks")])
def test_every_entry_is_read_and_its_key_is_compared(data: bytes, kind: str) -> None:
    assert looks_like(data)
    found = read(data, ["wrong", "changeit"])
    assert found.format == kind
    assert summary(found) == [("", 2, None), ("root", 1, "match"), ("site", 2, "match")]
    assert {der.read(each).subject for each in found.entries[0].certificates} == {
        "CN=Trusted first",
        "CN=Trusted second",
    }
    assert [der.read(each).subject for each in found.entries[2].certificates] == [
        "CN=site.example.com",
        "CN=Store Root",
    ]
    assert found.problems == ()


@pytest.mark.parametrize("data", [JKS, JCEKS])
def test_without_the_passphrase_all_but_the_keys_is_read(data: bytes) -> None:
    found = read(data)
    assert summary(found) == [("", 2, None), ("root", 1, "encrypted"), ("site", 2, "encrypted")]
    assert found.problems == ()


@pytest.mark.parametrize("data", [JKS, JCEKS])
def test_a_digest_that_fits_no_passphrase_is_told_and_the_contents_kept(data: bytes) -> None:
    found = read(data, ["wrong"])
    assert len(found.entries) == 3
    assert [problem.kind for problem in found.problems] == ["passphrase"]


def test_a_key_of_another_certificate_is_a_mismatch() -> None:
    # The chains of the two entries are exchanged, as a careless script does.
    root, site = (entry.certificates[0] for entry in read(JKS).entries[1:])
    at = JKS.index(certificate(site))
    swapped = JKS[:at] + JKS[at:].replace(certificate(site), certificate(root), 1)
    assert ("site", 2, "mismatch") in summary(read(swapped, ["changeit"]))


def test_aliases_are_text_whatever_they_hold() -> None:
    key = struct.pack(">I", 1) + text("Ключ/#1 ") + bytes(8) + struct.pack(">I", 3) + b"key"
    chain = struct.pack(">I", 1) + certificate(LEAF.der)
    found = read(store(key + chain))
    assert summary(found) == [("Ключ/#1 ", 1, "encrypted")]


@pytest.mark.parametrize(
    ("raw", "alias"),
    [
        (b"\xed\xa0\xbd\xed\xb4\x91", "\U0001f511"),
        (b"a\xc0\x80b", "a\0b"),
        (b"\xed\xa0", "\ufffd\ufffd"),
        (b"\xa2", "\ufffd"),
    ],
)
def test_aliases_are_in_javas_own_utf8(raw: bytes, alias: str) -> None:
    key = struct.pack(">IH", 1, len(raw)) + raw + bytes(8) + struct.pack(">I", 3) + b"key"
    found = read(store(key + struct.pack(">I", 1) + certificate(LEAF.der)))
    assert [entry.name for entry in found.entries] == [alias]


def test_two_entries_of_one_alias_keep_both() -> None:
    key = struct.pack(">I", 1) + text("a") + bytes(8) + struct.pack(">I", 3) + b"key"
    chain = struct.pack(">I", 1) + certificate(LEAF.der)
    assert [entry.name for entry in read(store(key + chain, key + chain)).entries] == ["a", "a~2"]


def test_every_truncation_keeps_what_was_read_and_gives_one_reason() -> None:
    whole = {each for entry in read(JKS).entries for each in entry.certificates}
    for length in range(len(JKS)):
        found = read(JKS[:length])
        (problem,) = found.problems
        assert problem.kind == "malformed"
        assert {each for entry in found.entries for each in entry.certificates} <= whole
    assert len(read(JKS[:-21]).entries) == 3


@pytest.mark.parametrize(
    "data",
    [
        store(trusted("a"), count=2**32 - 1),
        store(
            trusted("a"), struct.pack(">I", 2) + text("b") + bytes(8) + text("X.509") + b"\xff\xff\xff\xff"
        ),
        store(trusted("a"), struct.pack(">I", 1) + text("b") + bytes(8) + b"\xff\xff\xff\xff"),
        store(trusted("a"), struct.pack(">I", 1) + text("b") + bytes(8) + bytes(4) + b"\xff\xff\xff\xff"),
        store(trusted("a"), struct.pack(">I", 9) + text("b") + bytes(8)),
        store(trusted("a"), struct.pack(">I", 3) + text("b") + bytes(8)),
        store(trusted("a"), trusted("b"), count=1),
        store(
            trusted("a"), struct.pack(">I", 3) + text("s") + bytes(8) + b"\xac\xed\0\5s\x7d", magic=0xCECECECE
        ),
    ],
    ids=["count", "length", "key", "chain", "tag", "secret in jks", "left over", "secret"],
)
def test_a_lie_costs_nothing_and_what_was_read_is_kept(data: bytes) -> None:
    began = time.process_time()
    found = read(data, ["changeit"])
    assert time.process_time() - began < 0.5
    assert found.entries[0].certificates[0] == ROOT.der
    assert [problem.kind for problem in found.problems] == ["malformed"]


def test_a_secret_key_that_cannot_be_passed_over_is_named() -> None:
    data = store(
        trusted("a"), struct.pack(">I", 3) + text("mine") + bytes(8) + b"\0\0\0\0\0", magic=0xCECECECE
    )
    (problem,) = read(data).problems
    assert 'the secret key "mine", cannot be passed over' in problem.message


def test_a_certificate_of_another_type_is_named_and_passed_over() -> None:
    found = read(store(trusted("pgp", b"\x99", "OpenPGP\x1b[2J"), trusted("b")))
    assert summary(found) == [("", 1, None)]
    (problem,) = found.problems
    assert "OpenPGP\\1B[2J" in problem.message


def test_an_old_store_of_version_one_has_no_types() -> None:
    entry = struct.pack(">I", 2) + text("a") + bytes(8) + struct.pack(">I", len(ROOT.der)) + ROOT.der
    contents = struct.pack(">III", 0xFEEDFEED, 1, 1) + entry
    assert read(contents + bytes(20)).entries[0].certificates == (ROOT.der,)


def test_a_protected_key_that_asks_for_endless_work_is_left_alone() -> None:
    # JCEKS from Java 17 says 200,000 iterations for each key.
    bomb = JCEKS.replace(b"\x02\x03\x03\x0d\x40", b"\x02\x03\x7f\xff\xff")
    assert bomb != JCEKS
    began = time.process_time()
    found = read(bomb, ["changeit"])
    assert time.process_time() - began < 0.5
    assert ("site", 2, "encrypted") in summary(found)
