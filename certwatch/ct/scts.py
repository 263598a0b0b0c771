"""Signed certificate timestamps that a certificate carries (RFC 6962, 3.2 and 3.3), and what browsers ask of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from certwatch.ct.heads import LogKey
from certwatch.ct.leaves import leaf_index, make_leaf
from certwatch.ct.malformed import Malformed
from certwatch.x509.tlv import Unreadable, children, encode, header

_SCT_LIST = bytes.fromhex("2b06010401d679020402")
#: In an OCSP answer (RFC 6962, 3.3).
_OCSP_LIST = bytes.fromhex("06 0a 2b06010401d679020405")
_POISON = bytes.fromhex("2b06010401d679020403")
MAX_SCTS = 50
#: Up to this life two timestamps are enough, beyond it three (Chrome's and Apple's policies).
SHORT_LIFE = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class SCT:
    log_id: bytes
    #: Milliseconds since 1970.
    timestamp: int
    extensions: bytes
    #: DigitallySigned.
    signature: bytes

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(min(self.timestamp, 253402300799999) / 1000, UTC)

    @property
    def leaf_index(self) -> int | None:
        """Where it says that the entry is (static-ct-api). None: it does not, or cannot be read."""
        try:
            return leaf_index(self.extensions)
        except Malformed:
            return None

    def leaf(self, tbs: bytes, issuer_key_hash: bytes) -> bytes:
        """MerkleTreeLeaf of the precertificate entry that it promises; what it signs is the same bytes."""
        return make_leaf(tbs, self.timestamp, issuer_key_hash=issuer_key_hash, extensions=self.extensions)

    def certificate_leaf(self, certificate: bytes) -> bytes:
        """The same of one that does not stand in the certificate, but was sent beside it: it is about the certificate itself."""
        return make_leaf(certificate, self.timestamp, extensions=self.extensions)

    def verify(self, key: LogKey, tbs: bytes, issuer_key_hash: bytes) -> None:
        """Raises BadSignature."""
        key.verify(self.signature, self.leaf(tbs, issuer_key_hash))


def parse_sct_list(data: bytes) -> tuple[SCT, ...]:
    """SignedCertificateTimestampList. Raises Malformed."""
    if len(data) < 2 or int.from_bytes(data[:2], "big") != len(data) - 2:
        raise Malformed("a list of SCTs whose length is wrong")
    position, found = 2, list[SCT]()
    while position < len(data):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if end > len(data) or len(found) >= MAX_SCTS:
            raise Malformed("a list of SCTs that breaks off, or is too long")
        found.append(_sct(data[position + 2 : end]))
        position = end
    return tuple(found)


def _sct(data: bytes) -> SCT:
    if len(data) < 43 or data[0] != 0:
        raise Malformed("an SCT of another version than v1, or cut off")
    end = 43 + int.from_bytes(data[41:43], "big")
    if end + 4 > len(data):
        raise Malformed("an SCT that is cut off")
    return SCT(
        log_id=data[1:33],
        timestamp=int.from_bytes(data[33:41], "big"),
        extensions=data[43:end],
        signature=data[end:],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What a certificate carries, and what its timestamps are about."""

    scts: tuple[SCT, ...]
    #: TBSCertificate without the list: what the precertificate's entry has.
    tbs: bytes


def read_embedded(certificate: bytes) -> Embedded | None:
    """None: it carries none. Raises Malformed: what it carries cannot be read."""
    try:
        tbs = tbs_of(certificate)
        without, removed = strip(tbs)
    except Unreadable as error:
        raise Malformed(f"the certificate cannot be read: {error}") from error
    value = removed.get(_SCT_LIST)
    if value is None:
        return None
    try:
        _, start, end = header(value, 0, len(value))
    except Unreadable as error:
        raise Malformed("the SCT extension holds no OCTET STRING") from error
    return Embedded(scts=parse_sct_list(value[start:end]), tbs=without)


def list_in_ocsp(response: bytes) -> bytes | None:
    """SignedCertificateTimestampList of an OCSP response (RFC 6962, 3.3). None: none, or it cannot be read. Believe no more of
    it than a log has signed."""
    place = response.find(_OCSP_LIST)
    if place < 0:
        return None
    try:
        position = place + len(_OCSP_LIST)
        tag, start, end = header(response, position, len(response))
        if tag == 0x01:
            tag, start, end = header(response, end, len(response))
        inner, start, end = header(response, start, end)
    except Unreadable:
        return None
    return response[start:end] if (tag, inner) == (0x04, 0x04) else None


def tbs_of(certificate: bytes) -> bytes:
    """The TBSCertificate's bytes. Raises Unreadable."""
    _, start, end = header(certificate, 0, len(certificate))
    _, _, stop = header(certificate, start, end)
    return certificate[start:stop]


def strip(tbs: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """A TBSCertificate without SCT list and poison, and the values of those that were there (RFC 6962, 3.2). Raises
    Unreadable."""
    _, start, end = header(tbs, 0, len(tbs))
    position, removed = start, dict[bytes, bytes]()
    while position < end:
        tag, first, stop = header(tbs, position, end)
        if tag == 0xA3:
            _, inner, last = header(tbs, first, stop)
            kept = []
            while inner < last:
                _, value, after = header(tbs, inner, last)
                parts = children(tbs[value:after])
                if parts and parts[0] in ((0x06, _SCT_LIST), (0x06, _POISON)):
                    removed[parts[0][1]] = parts[-1][1]
                else:
                    kept.append(tbs[inner:after])
                inner = after
            if not removed:
                return tbs, removed
            extensions = encode(0xA3, encode(0x30, b"".join(kept))) if kept else b""
            return encode(0x30, tbs[start:position] + extensions + tbs[stop:end]), removed
        position = stop
    return tbs, removed


def policy_faults(found: Iterable[tuple[SCT, str]], lifetime: timedelta | None) -> list[str]:
    """What browsers miss, each in words. `found`: SCTs with valid signatures of logs that are known, with their operators."""
    valid = list(found)
    wanted = 2 if lifetime is not None and lifetime <= SHORT_LIFE else 3
    logs, operators = {sct.log_id for sct, _ in valid}, {operator for _, operator in valid}
    faults = []
    if len(logs) < wanted:
        faults.append(f"{len(logs)} valid timestamps of different logs; {wanted} are asked for")
    if len(operators) < 2:
        faults.append(
            f"they are of {len(operators)} operator{'' if len(operators) == 1 else 's'}; 2 are asked for"
        )
    return faults
