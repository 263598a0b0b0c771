"""Heads, checkpoints, leaves, lists: what is right is read, what is not is refused with a word."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ct.heads import BadSignature, LogKey, SignedHead, parse_log_checkpoint, parse_sth
from certwatch.ct.leaves import (
    join_chain,
    leaf_index,
    leaf_index_extension,
    make_leaf,
    parse_extensions,
    parse_extra_data,
    parse_leaf,
    split_tile,
    tile_beside,
)
from certwatch.ct.log_list import parse_log_list, verify_signature
from certwatch.ct.malformed import Malformed
from certwatch.ct.notes import RFC6962, key_id, parse_checkpoint, parse_note
from certwatch.ct.scts import list_in_ocsp, parse_sct_list, policy_faults, read_embedded
from certwatch.ct.tiles import tile_path, tile_width
from certwatch.plugins.testing import key
from certwatch.x509.tlv import encode

ORIGIN = "log.example/2027"
ROOT = bytes(range(32))
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def private(kind: str) -> Key:
    made = key(kind, 77)
    assert isinstance(made, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return made


def signed(message: bytes, by: Key) -> bytes:
    if isinstance(by, rsa.RSAPrivateKey):
        kind, signature = 1, by.sign(message, padding.PKCS1v15(), hashes.SHA256())
    else:
        kind, signature = 3, by.sign(message, ec.ECDSA(hashes.SHA256()))
    return bytes((4, kind)) + len(signature).to_bytes(2, "big") + signature


def log_key(by: Key) -> LogKey:
    return LogKey.read(
        by.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def head(by: Key, size: int = 5, timestamp: int = 1_700_000_000_000) -> SignedHead:
    unsigned = SignedHead(size=size, root=ROOT, timestamp=timestamp, signature=b"")
    return SignedHead(size=size, root=ROOT, timestamp=timestamp, signature=signed(unsigned.signed_bytes, by))


def checkpoint(by: Key, *more: str, origin: str = ORIGIN, extension: str = "") -> bytes:
    made = head(by)
    body = key_id(origin, RFC6962, log_key(by).log_id) + made.timestamp.to_bytes(8, "big") + made.signature
    text = f"{origin}\n{made.size}\n{base64.b64encode(made.root).decode()}\n{extension}"
    lines = [*more, f"\N{EM DASH} {origin} {base64.b64encode(body).decode()}"]
    return f"{text}\n{''.join(each + chr(10) for each in lines)}".encode()


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_head_is_the_same_as_sth_and_as_checkpoint(kind: str) -> None:
    by = private(kind)
    made = head(by)
    read = parse_sth(json.dumps(made.to_json()))
    assert read == made
    read.verify(log_key(by))
    witness = "\N{EM DASH} witness.example " + base64.b64encode(b"abcd" + bytes(72)).decode()
    noted = parse_log_checkpoint(checkpoint(by, witness), ORIGIN, log_key(by).log_id)
    noted.verify(log_key(by))
    assert (noted.size, noted.root, noted.timestamp) == (made.size, made.root, made.timestamp)
    assert witness in noted.note
    assert parse_sth(json.dumps(noted.to_json())) == noted
    other = private("ec384" if kind == "ec" else "ec")
    for wrong in (made, SignedHead(size=6, root=ROOT, timestamp=made.timestamp, signature=made.signature)):
        with pytest.raises(BadSignature):
            wrong.verify(log_key(other if wrong is made else by))


def test_a_checkpoint_of_somebody_else_or_with_more_in_it_is_refused() -> None:
    by = private("ec")
    id = log_key(by).log_id
    with pytest.raises(Malformed, match="instead of"):
        parse_log_checkpoint(checkpoint(by, origin="other.example"), ORIGIN, id)
    with pytest.raises(Malformed, match="does not cover"):
        parse_log_checkpoint(checkpoint(by, extension="more\n"), ORIGIN, id)
    with pytest.raises(BadSignature, match="no signature"):
        parse_log_checkpoint(checkpoint(by), ORIGIN, bytes(32))
    good = checkpoint(by)
    for wrong in (
        b"",
        good[:-1],
        good.replace(b"\n5\n", b"\n05\n"),
        good.replace(b"\n5\n", b"\n-5\n"),
        good.replace(b"\n5\n", b"\n99999999999999999999\n"),
        good.replace(b"\n\n", b"\n"),
        b"<html>\n\n<p>\n",
        good.replace(b"AAEC", b"A*EC"),
        b"\xff" + good,
        good + b"x" * 70_000,
    ):
        with pytest.raises(Malformed):
            parse_log_checkpoint(wrong, ORIGIN, id)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"tree_size": -1, "timestamp": 1, "sha256_root_hash": "", "tree_head_signature": ""}',
        b'{"tree_size": 1e99, "timestamp": 1, "sha256_root_hash": "", "tree_head_signature": ""}',
        b'{"tree_size": 1, "timestamp": 1, "sha256_root_hash": "***", "tree_head_signature": ""}',
        b'{"tree_size": 1, "timestamp": 1, "sha256_root_hash": "AAAA", "tree_head_signature": "AAAA"}',
        json.dumps({**head(private("ec")).to_json(), "timestamp": 1 << 70}).encode(),
    ],
)
def test_what_is_no_head_is_refused(wrong: bytes) -> None:
    with pytest.raises(Malformed):
        parse_sth(wrong)


@given(st.binary(max_size=400))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    readers: list[Callable[[], object]] = [
        lambda: parse_leaf(data),
        lambda: parse_leaf(b"\0\0" + data),
        lambda: parse_extensions(data),
        lambda: leaf_index(data),
        lambda: parse_extra_data(data, is_precertificate=True),
        lambda: parse_extra_data(data, is_precertificate=False),
        lambda: split_tile(data),
        lambda: split_tile(bytes(8) + b"\0\1" + data),
        lambda: tile_beside(data, 3, is_precertificate=True),
        lambda: parse_checkpoint(parse_note(data)),
        lambda: parse_checkpoint(parse_note(b"a\n1\n" + data + b"\n\n" + data)),
        lambda: parse_sth(data),
        lambda: parse_sct_list(data),
        lambda: parse_sct_list(len(data).to_bytes(2, "big") + data),
        lambda: read_embedded(data),
        lambda: parse_log_list(data),
        lambda: LogKey.read(data),
        lambda: verify_signature(data, data, data),
    ]
    for read in readers:
        try:
            read()
        except Malformed:
            pass


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda each: st.lists(each, max_size=3) | st.dictionaries(
    st.sampled_from(["operators", "logs", "tiled_logs", "key", "log_id", "url", "state", "usable", "mmd", "name"]), each, max_size=4
), max_leaves=12)  # fmt: skip


@given(JSON)
def test_no_list_is_too_strange(said: object) -> None:
    try:
        parse_log_list(json.dumps({"operators": said} if isinstance(said, list) else said).encode())
    except Malformed:
        pass


@given(
    st.binary(max_size=50),
    st.integers(0, 1 << 63),
    st.binary(min_size=32, max_size=32) | st.none(),
    st.integers(0, (1 << 40) - 1),
)
def test_a_leaf_that_was_written_is_read(data: bytes, at: int, issuer: bytes | None, index: int) -> None:
    leaf = make_leaf(data, at, issuer_key_hash=issuer, extensions=leaf_index_extension(index))
    entry = parse_leaf(leaf)
    assert (entry.certificate, entry.timestamp, entry.issuer_key_hash) == (data, at, issuer)
    assert entry.at.tzinfo is not None
    assert leaf_index(entry.extensions) == index
    for wrong in (leaf[:-1], leaf + b"\0"):
        with pytest.raises(Malformed):
            parse_leaf(wrong)


def test_a_tile_is_split_to_its_very_end() -> None:
    leaves = [
        make_leaf(b"%d" % each, each, issuer_key_hash=bytes(32) if each % 2 else None) for each in range(256)
    ]
    tile = b"".join(
        leaf[2:] + (b"\0\0\3pre" if each % 2 else b"") + b"\0\x40" + bytes(64)
        for each, leaf in enumerate(leaves)
    )
    found, rest = split_tile(tile)
    assert found == leaves
    beside = tile_beside(tile, rest[1], is_precertificate=True)
    assert (beside.precertificate, beside.issuers) == (b"pre", (bytes(32), bytes(32)))
    for wrong in (tile[:-1], tile + b"\0", tile + leaves[0][2:] + b"\0\0", tile[:8] + b"\0\2" + tile[10:]):
        with pytest.raises(Malformed):
            split_tile(wrong)


def test_chains_are_read_as_they_were_written() -> None:
    chain = join_chain([b"one", b"two"])
    assert parse_extra_data(chain, is_precertificate=False).chain == (b"one", b"two")
    beside = parse_extra_data(b"\0\0\1p" + chain, is_precertificate=True)
    assert (beside.precertificate, beside.chain) == (b"p", (b"one", b"two"))
    for wrong in (chain[:-1], chain + b"\0", join_chain([b"x"] * 101)):
        with pytest.raises(Malformed):
            parse_extra_data(wrong, is_precertificate=False)


def test_tiles_are_where_the_specification_has_them() -> None:
    assert tile_path(0, 0) == "tile/0/000"
    assert tile_path(1, 1234067) == "tile/1/x001/x234/067"
    assert tile_path("data", 999001, 8) == "tile/data/x999/001.p/8"
    assert tile_path(0, 15999001) == "tile/0/x015/x999/001"
    assert [tile_width(level, index, 70_000) for level, index in ((0, 272), (0, 273), (1, 0), (1, 1), (2, 0), (2, 1))] == [
        256, 112, 256, 17, 1, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("critical", [b"", b"\1\1\xff"])
def test_timestamps_in_an_ocsp_response_are_found(critical: bytes) -> None:
    """As an extension of a SingleResponse (RFC 6960, 4.2.1; RFC 6962, 3.3)."""
    sct = b"\0" + bytes(40) + b"\0\0" + b"\4\3\0\x01s"
    packed = (len(sct) + 2).to_bytes(2, "big") + len(sct).to_bytes(2, "big") + sct
    oid = encode(0x06, bytes.fromhex("2b06010401d679020405"))
    extension = encode(0x30, oid + critical + encode(0x04, encode(0x04, packed)))
    single = encode(0x30, encode(0x80, b"") + encode(0xA1, encode(0x30, extension)))
    found = list_in_ocsp(encode(0x30, bytes(100) + single))
    assert found == packed
    assert len(parse_sct_list(found)) == 1
    assert list_in_ocsp(encode(0x30, bytes(100))) is None
    for end in range(len(single)):
        assert list_in_ocsp(single[:end]) is None
    assert list_in_ocsp(oid + encode(0x04, packed)) is None


def test_browsers_ask_for_two_operators_and_more_timestamps_of_longer_lives() -> None:
    def sct(log: int) -> bytes:
        body = b"\0" + bytes((log,)) * 32 + bytes(8) + b"\0\0" + b"\4\3\0\1x"
        return len(body).to_bytes(2, "big") + body

    packed = sct(1) + sct(2) + sct(3)
    one, two, three = parse_sct_list(len(packed).to_bytes(2, "big") + packed)
    short, long = timedelta(days=90), timedelta(days=200)
    assert policy_faults([(one, "A"), (two, "B")], short) == []
    assert policy_faults([(one, "A"), (two, "A")], short) == ["they are of 1 operator; 2 are asked for"]
    assert len(policy_faults([(one, "A"), (two, "B")], long)) == 1
    assert policy_faults([(one, "A"), (two, "B"), (three, "A")], long) == []
    assert len(policy_faults([(one, "A"), (one, "A")], short)) == 2
    assert len(policy_faults([], None)) == 2


def test_a_log_that_cannot_be_used_is_named_and_hides_no_other() -> None:
    by = log_key(private("ec"))
    packed = base64.b64encode(by.der).decode()
    good = {
        "description": "Good",
        "key": packed,
        "log_id": base64.b64encode(by.log_id).decode(),
        "url": "https://a.example/x/",
        "mmd": 86400,
        "state": {"usable": {}},
    }
    wrong = [
        {**good, "description": "Wrong id", "log_id": base64.b64encode(bytes(32)).decode()},
        {**good, "description": "Odd URL", "url": "file:///etc/passwd"},
        {**good, "description": "Two states", "state": {"usable": {}, "retired": {}}},
        {**good, "description": "No mmd", "mmd": -1},
        {**good, "description": "No key", "key": "AAAA"},
        7,
    ]
    tiled = {**good, "submission_url": "https://s.example/log/", "monitoring_url": "https://m.example/log/"}
    found = parse_log_list(
        json.dumps(
            {
                "version": "9",
                "operators": [{"name": "Op", "logs": [*wrong, good, good], "tiled_logs": [tiled]}],
            }
        ).encode()
    )
    assert [(each.name, each.origin, each.operator, each.state) for each in found.logs] == [
        ("a.example/x", "", "Op", "usable"),
        ("m.example/log", "s.example/log", "Op", "usable"),
    ]
    assert len(found.skipped) == 7
