"""Against what real logs have said."""

import base64
import json

import pytest

from certwatch.ct.heads import BadSignature, LogKey, parse_sth
from certwatch.ct.leaves import TILE, leaf_index, parse_extra_data, parse_leaf, split_tile, tile_beside
from certwatch.ct.log_list import parse_log_list, verify_signature
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import ProofError, leaf_hash, verify_inclusion
from certwatch.ct.names import match, read_names
from certwatch.ct.prefilter import Prefilter
from certwatch.ct.scts import read_embedded
from certwatch.ct.watch import WatchList, parse_item
from certwatch.x509 import der
from tests.support.ct_vectors import vectors


def test_the_tiles_of_a_static_log_hash_to_its_tree() -> None:
    for number, path in enumerate(("000", "001", "002", "003", "003.p/10")):
        data = vectors(f"sunlight/tile/data/{path}").read_bytes()
        hashes = vectors(f"sunlight/tile/0/{path}").read_bytes()
        leaves, rest = split_tile(data)
        assert b"".join(map(leaf_hash, leaves)) == hashes
        first = min(number, 3) * TILE
        for position, (leaf, after) in enumerate(zip(leaves, rest, strict=False)):
            entry = parse_leaf(leaf)
            assert leaf_index(entry.extensions) == first + position
            beside = tile_beside(data, after, is_precertificate=entry.is_precertificate)
            assert beside.issuers
            assert beside.precertificate is not None
            # What counts is the leaf; the precertificate beside it is the same but for the poison.
            assert der.read(beside.precertificate).tbs_sha256 == der.fingerprint(entry.certificate)


def test_the_prefilter_passes_over_nearly_all_of_real_entries_and_over_none_that_matches() -> None:
    leaves = [
        leaf
        for path in ("sunlight/tile/data/000", "sunlight/tile/data/003", "tesseract/example_tile")
        for leaf in split_tile(vectors(path).read_bytes())[0]
    ]
    names = [labels for leaf in leaves for labels, _ in read_names(parse_leaf(leaf).certificate).hosts]
    watch = WatchList.make(
        [parse_item(".example.org"), *(parse_item(".".join(reversed(labels[:3]))) for labels in names[::97] if len(labels) > 2 and "*" not in labels[:3])]
    )  # fmt: skip
    suspects = set(Prefilter(watch).suspects(leaves))
    matching = {
        position for position, leaf in enumerate(leaves) if match(parse_leaf(leaf).certificate, watch)
    }
    assert matching
    assert matching <= suspects
    quiet = WatchList.make([parse_item(".certwatch.example")])
    assert len(Prefilter(quiet).suspects(leaves)) < len(leaves) / 50


def test_entries_of_get_entries_are_read() -> None:
    said = json.loads(vectors("rfc6962/live_ct.json").read_text())
    count = 0
    for entry in _entries(said):
        leaf = parse_leaf(base64.b64decode(entry["leaf_input"]))
        beside = parse_extra_data(
            base64.b64decode(entry["extra_data"]), is_precertificate=leaf.is_precertificate
        )
        assert beside.chain
        assert (beside.precertificate is not None) == leaf.is_precertificate
        if beside.precertificate is not None:
            assert der.read(beside.precertificate).tbs_sha256 == der.fingerprint(leaf.certificate)
        else:
            embedded = read_embedded(leaf.certificate)
            assert embedded is None or der.fingerprint(embedded.tbs) == der.read(leaf.certificate).tbs_sha256
        count += 1
    assert count == 40


def _entries(said: object) -> list[dict[str, str]]:
    if isinstance(said, dict):
        if "leaf_input" in said:
            return [said]
        return [each for value in said.values() for each in _entries(value)]
    return [each for value in said for each in _entries(value)] if isinstance(said, list) else []


def test_the_log_list_of_chrome_is_read_and_its_signature_verified() -> None:
    data = vectors("rfc6962/google_v3_log_list.json").read_bytes()
    signature = vectors("rfc6962/google_v3_log_list.sig").read_bytes()
    key = vectors("rfc6962/google_v3_pubkey.pem").read_bytes()
    verify_signature(data, signature, key)
    with pytest.raises(Malformed):
        verify_signature(data + b" ", signature, key)
    found = parse_log_list(data)
    assert len(found.logs) > 40
    assert not found.skipped
    assert {each.kind for each in found.logs} == {"rfc6962", "static"}
    assert any(each.final is not None for each in found.logs)
    static = next(each for each in found.logs if each.kind == "static")
    assert static.origin
    assert not static.origin.endswith("/")


def test_a_real_inclusion_proof_verifies_and_another_does_not() -> None:
    sth = parse_sth(vectors("azul/get-sth").read_bytes())
    entry = json.loads(vectors("azul/get-entries-start-10000-end-10000").read_text())["entries"][0]
    path = "azul/get-proof-by-hash-tree-size-961984011-hash-nCs3mfIydh9x4CKyQ-2Bu2xtmpxmFggA5MLymHwNQSlLg-3D"
    proof = json.loads(vectors(path).read_text())
    hashes = [base64.b64decode(each) for each in proof["audit_path"]]
    leaf = leaf_hash(base64.b64decode(entry["leaf_input"]))
    verify_inclusion(proof["leaf_index"], sth.size, leaf, hashes, sth.root)
    with pytest.raises(ProofError):
        verify_inclusion(proof["leaf_index"] + 1, sth.size, leaf, hashes, sth.root)
    logs = parse_log_list(vectors("azul/log_list.json").read_bytes()).logs
    for log in logs[:3]:
        with pytest.raises(BadSignature):
            sth.verify(log.key)
    assert all(LogKey.read(log.key.der).log_id == log.key.log_id for log in logs)
