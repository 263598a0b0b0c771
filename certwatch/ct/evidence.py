"""Evidence packs: all that proves a finding, in files, for whoever has nothing but them. Made from what is kept, without asking
the log again; verified without a network."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from certwatch.ct.heads import BadSignature, LogKey, SignedHead, parse_sth
from certwatch.ct.leaves import make_leaf, parse_leaf
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import ProofError, leaf_hash, root_by_path, verify_consistency
from certwatch.ct.scts import strip, tbs_of
from certwatch.model.observation import Fact
from certwatch.x509.tlv import Unreadable

#: The one file that is verified; all others are for people.
PACK = "evidence.json"
MAX_BYTES = 64 << 20


class NoEvidence(Exception):
    """A pack cannot be made, or proves nothing. The message says why."""


def entry_pack(
    uri: str, chain: tuple[bytes, ...], facts: Mapping[str, Fact], log: Mapping[str, Fact]
) -> dict[str, bytes]:
    """Files of a pack by name, of an entry that a log has. `log`: facts of the log's own location. Raises NoEvidence."""
    try:
        proof = json.loads(str(facts["ct_proof"]))
        key = str(log["ct_log_key"])
    except (KeyError, ValueError) as error:
        raise NoEvidence(f"{uri}: no proof is kept of it") from error
    if not chain:
        raise NoEvidence(f"{uri}: its certificate is not kept")
    leaf = leaf_of(chain[0], facts, proof)
    said = {
        "kind": "entry",
        "location": uri,
        "log": {"description": log.get("ct_log"), "operator": log.get("ct_operator"), "key": key},
        "index": facts.get("ct_index"),
        "leaf_input": _packed(leaf),
        "tree_size": proof["tree_size"],
        "audit_path": proof["path"],
        "consistency": proof["consistency"],
        "head": proof["head"],
        "matches": facts.get("ct_matches"),
    }
    files = {
        PACK: _json(said),
        "leaf.bin": leaf,
        "certificate.pem": _pem(chain[0]),
        "chain.pem": b"".join(map(_pem, chain[1:])),
        "README.md": _README.encode(),
    }
    verify_pack(files[PACK])
    return files


def leaf_of(certificate: bytes, facts: Mapping[str, Fact], proof: Mapping[str, Any]) -> bytes:
    """The MerkleTreeLeaf, made again of what is kept. Raises NoEvidence."""
    if proof.get("leaf"):
        return certificate
    if "leaf_input" in proof:
        return _bytes(proof["leaf_input"])
    if facts.get("ct_entry") != "precertificate":
        return make_leaf(certificate, proof["timestamp"], extensions=_bytes(proof["extensions"]))
    try:
        tbs, _ = strip(tbs_of(certificate))
    except Unreadable as error:
        raise NoEvidence(f"the precertificate cannot be read: {error}") from error
    return make_leaf(
        tbs,
        proof["timestamp"],
        issuer_key_hash=_bytes(proof["issuer_key_hash"]),
        extensions=_bytes(proof["extensions"]),
    )


def log_pack(uri: str, facts: Mapping[str, Fact]) -> dict[str, bytes]:
    """Files of a pack, of a log that misbehaves. Raises NoEvidence."""
    try:
        faults = json.loads(str(facts["ct_faults"]))
        key = str(facts["ct_log_key"])
    except (KeyError, ValueError) as error:
        raise NoEvidence(f"{uri}: nothing is known against this log") from error
    said = {
        "kind": "log",
        "location": uri,
        "log": {"description": facts.get("ct_log"), "operator": facts.get("ct_operator"), "key": key},
        "faults": faults,
    }
    return {PACK: _json(said), "README.md": _README.encode()}


def verify_pack(data: bytes) -> list[str]:
    """What the pack proves, each a sentence. Raises NoEvidence: it proves nothing, and why."""
    if len(data) > MAX_BYTES:
        raise NoEvidence(f"{len(data)} bytes")
    try:
        said = json.loads(data)
        key = LogKey.read(_bytes(said["log"]["key"]))
        name = f"the log with the ID {_packed(key.log_id)}"
        if said["kind"] == "entry":
            return _verify_entry(said, key, name)
        return _verify_log(said, key, name)
    except (KeyError, TypeError, ValueError, RecursionError, Malformed) as error:
        raise NoEvidence(f"not a pack of evidence: {error}") from error
    except (BadSignature, ProofError) as error:
        raise NoEvidence(f"it does not prove what it says: {error}") from error


def _verify_entry(said: Mapping[str, Any], key: LogKey, name: str) -> list[str]:
    head = _head(said["head"])
    head.verify(key)
    leaf = _bytes(said["leaf_input"])
    index, size = int(said["index"]), int(said["tree_size"])
    root = root_by_path(index, size, leaf_hash(leaf), [_bytes(each) for each in said["audit_path"]])
    verify_consistency(size, head.size, root, head.root, [_bytes(each) for each in said["consistency"]])
    proven = [
        f"{name} signed a head of {head.size} entries at {head.at:%Y-%m-%dT%H:%M:%SZ}",
        f"entry {index} is in that tree",
    ]
    try:
        entry = parse_leaf(leaf)
        kind = "precertificate" if entry.is_precertificate else "certificate"
        proven.append(f"the log took that {kind} at {entry.at:%Y-%m-%dT%H:%M:%SZ}")
    except Malformed as error:
        proven.append(f"the entry is none that can be read: {error}")
    return proven


def _verify_log(said: Mapping[str, Any], key: LogKey, name: str) -> list[str]:
    proven: list[str] = []
    for fault in said["faults"]:
        heads = [_head(each) for each in fault["heads"]]
        if fault["kind"] == "bad-signature":
            continue
        for head in heads:
            head.verify(key)
            proven.append(f"{name} signed a head of {head.size} entries at {head.at:%Y-%m-%dT%H:%M:%SZ}")
        if len(heads) < 2:
            continue
        one, two = heads[0], heads[1]
        if fault["kind"] == "fork" and one.size == two.size and one.root != two.root:
            proven.append(f"they have {one.size} entries both, and different roots: a fork")
        elif fault["kind"] == "rollback" and one.timestamp < two.timestamp and one.size > two.size:
            proven.append(f"the later one has {one.size - two.size} entries less: a rollback")
        elif fault["kind"] == "fork":
            proven.append("ask the log for a proof of consistency between them: it cannot give one")
    if not proven:
        raise NoEvidence("it holds no signed head")
    return proven


def _head(said: Mapping[str, Any]) -> SignedHead:
    return parse_sth(json.dumps(said))


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError("base64 that is none") from error


def _json(said: object) -> bytes:
    return (json.dumps(said, indent=2) + "\n").encode()


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


_README = """# Evidence

`evidence.json` holds all that is proven here. Verify it without a network:

    certwatch ct prove evidence.json

By hand, for an entry (all values are base64):

1. Take `log.key` as a public key (SubjectPublicKeyInfo); its SHA-256 is the log's ID in every browser's list of logs.
2. Verify `head.tree_head_signature` over 00 01, the timestamp and tree size (8 bytes each), and the root hash (RFC 6962, 3.5).
3. Hash 00 and `leaf_input` by SHA-256, and go up by `audit_path` as RFC 9162, 2.1.3.2 says, for `index` in a tree of `tree_size`.
4. The result is the head's root; or, if `tree_size` is less than the head's, `consistency` proves it to be its beginning
   (RFC 9162, 2.1.4.2).
5. `leaf_input` is the MerkleTreeLeaf of RFC 6962, 3.4: it holds the certificate, or the precertificate's TBSCertificate and
   the hash of its issuer's key.

For a log that misbehaves, each fault names the signed heads that contradict one another.
"""
