"""An entry that matches, made an observation: what the leaf proves, where it is, why it is of concern, and the proof."""

import base64
from collections.abc import Sequence
from datetime import datetime

import msgspec

from certwatch.ct.evidence import NoEvidence, leaf_of
from certwatch.ct.heads import SignedHead
from certwatch.ct.leaves import Beside, Entry
from certwatch.ct.log_list import Log
from certwatch.ct.names import Match
from certwatch.ct.scts import strip
from certwatch.model.observation import Fact, LookError, Observation
from certwatch.x509 import der
from certwatch.x509.tlv import Unreadable, encode
from collectors.ct.state import entry_location, rfc3339

#: Matches that are named of one certificate.
SHOWN = 20
#: A certificate beyond this is not kept; its location, hash and proof are.
MAX_CERTIFICATE = 256 << 10
MAX_CHAIN = 10


def certificate_of(entry: Entry, beside: Beside | None) -> bytes:
    """What is kept as the certificate: always what the leaf says, since what stands beside it proves nothing. A
    precertificate is taken as it was signed if it is the leaf's; else the leaf's TBS stands in a certificate without signature."""
    if not entry.is_precertificate:
        return entry.certificate
    if beside is not None and beside.precertificate is not None:
        try:
            tbs, removed = strip(_tbs(beside.precertificate))
            if removed and tbs == entry.certificate:
                return beside.precertificate
        except Unreadable:
            pass
    return wrapped(entry.certificate)


def wrapped(tbs: bytes) -> bytes:
    """A TBSCertificate as a certificate without signature."""
    return encode(0x30, tbs + b"\x30\0" + b"\3\1\0")


def _tbs(certificate: bytes) -> bytes:
    from certwatch.ct.scts import tbs_of

    return tbs_of(certificate)


def observation(
    log: Log,
    index: int,
    entry: Entry | None,
    leaf: bytes,
    beside: Beside | None,
    matches: Sequence[Match],
    *,
    seen_at: datetime,
    head: SignedHead,
    tree_size: int,
    path: Sequence[bytes],
    consistency: Sequence[bytes],
) -> Observation:
    """`entry`: None: the leaf cannot be read. `path`: from the leaf up in the tree of `tree_size` entries, which `consistency`
    proves to be the beginning of the head's."""
    facts: dict[str, Fact] = {
        "ct_log": log.description,
        "ct_operator": log.operator,
        "ct_index": index,
        "ct_matches": shown(matches),
    }
    chain: tuple[bytes, ...] = ()
    error: LookError | None = None
    proof: dict[str, object] = {
        "tree_size": tree_size,
        "path": [_packed(each) for each in path],
        "head": head.to_json(),
        "consistency": [_packed(each) for each in consistency],
    }
    if entry is None:
        facts["ct_entry"] = "unreadable"
        chain = (leaf,) if len(leaf) <= MAX_CERTIFICATE else ()
        proof["leaf"] = True
    else:
        facts["ct_entry"] = "precertificate" if entry.is_precertificate else "certificate"
        facts["ct_logged_at"] = rfc3339(entry.at)
        proof["timestamp"] = entry.timestamp
        proof["extensions"] = _packed(entry.extensions)
        certificate = certificate_of(entry, beside)
        issuers = beside.chain if beside is not None else ()
        if entry.issuer_key_hash is not None:
            facts["ct_issuer_key"] = entry.issuer_key_hash.hex()
            proof["issuer_key_hash"] = _packed(entry.issuer_key_hash)
        elif issuers:
            key = der.read(issuers[0]).spki_sha256
            if key is not None:
                facts["ct_issuer_key"] = key.hex()
        if len(certificate) <= MAX_CERTIFICATE:
            chain = (certificate, *(each for each in issuers[:MAX_CHAIN] if len(each) <= MAX_CERTIFICATE))
            if not _makes(leaf, certificate, facts, proof):
                proof["leaf_input"] = _packed(leaf)
    if not chain:
        error = LookError(
            kind="malformed",
            message=f"{log.name}, entry {index}: {len(leaf)} bytes are not kept; fetch the entry from the log",
        )
    facts["ct_proof"] = msgspec.json.encode(proof).decode()
    return Observation(
        location=entry_location(log, index),
        observed_at=seen_at,
        chain=chain,
        facts=facts,
        error=error,
        scope=log.name,
    )


def _makes(leaf: bytes, certificate: bytes, facts: dict[str, Fact], proof: dict[str, object]) -> bool:
    """That the proof can be made of what is kept: not so if a TBSCertificate is damaged, or is encoded in a way of its own."""
    try:
        return leaf_of(certificate, facts, proof) == leaf
    except NoEvidence:
        return False


def shown(matches: Sequence[Match]) -> str:
    """'.example.com (dns www.example.com), …': sorted, so that it is the same each time."""
    words = sorted(
        {f"{each.item} ({each.source}{' ' + each.name[:255] if each.name else ''})" for each in matches}
    )
    more = f", and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join("".join(c if c.isprintable() else "." for c in word) for word in words[:SHOWN]) + more


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode()
