"""The certificates bag of PKCS#7 and CMS SignedData (RFC 2315, 9; RFC 5652, 5): `.p7b`, `.p7c`, `.p7s`, signed mail and
code. What was signed, and by whom, is not looked at.

Read by our own walk: cryptography's reader takes neither indefinite lengths nor messages with content, and refuses all
for one bad certificate.
"""

import base64
import binascii
import re

from certwatch.x509 import ber, der
from certwatch.x509.ber import SEQUENCE, Element
from certwatch.x509.containers import (
    MAX_CERTIFICATES,
    Container,
    Entry,
    Problem,
    bundle,
    chain_from,
    malformed,
)
from certwatch.x509.tlv import Unreadable

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_SIGNED_AND_ENVELOPED = "1.2.840.113549.1.7.4"
#: PEM labels (RFC 7468, 8 and 9; and what OpenSSL and Java read beside them).
PEM_LABELS = frozenset({"PKCS7", "PKCS #7 SIGNED DATA", "CMS"})
#: Parts of a mail that are PKCS#7 (RFC 8551, 3.2 and 3.5), and the empty line after their header.
_MAIL_PART = re.compile(
    rb"^content-type:[ \t]*application/(?:x-)?pkcs7-(?:signature|mime)\b", re.IGNORECASE | re.MULTILINE
)
_BASE64_LINES = re.compile(rb"[A-Za-z0-9+/=\r\n \t]*")
_MAX_HEADER = 4096
_MAX_MAIL_PARTS = 100


def looks_like(data: bytes) -> bool:
    """Is this ContentInfo of SignedData, whole or cut off?"""
    try:
        return ber.oid(ber.element(data, ber.inside(data))) in (_SIGNED_DATA, _SIGNED_AND_ENVELOPED)
    except Unreadable:
        return False


def looks_like_mail(data: bytes) -> bool:
    """A message, or what comes before one, with a PKCS#7 part."""
    return b"pkcs7-" in data and _MAIL_PART.search(data) is not None


def read(data: bytes) -> Container:
    """Never raises. A message's signer is the leaf of a chain; certificates alone are a bundle, unless they are one
    chain."""
    certificates: list[bytes] = []
    crls: list[bytes] = []
    problems: list[Problem] = []
    try:
        _signed_data(data, certificates, crls)
    except Unreadable as error:
        problems.append(malformed(f"PKCS#7: {error}"))
    return Container(
        format="pkcs7", entries=_entries(certificates), crls=tuple(crls), problems=tuple(problems)
    )


def read_mail(data: bytes) -> Container:
    """Never raises. All PKCS#7 parts together."""
    certificates: dict[bytes, None] = {}
    crls: dict[bytes, None] = {}
    problems: list[Problem] = []
    for number, found in enumerate(_MAIL_PART.finditer(data), 1):
        if number > _MAX_MAIL_PARTS:
            problems.append(malformed(f"more than {_MAX_MAIL_PARTS} PKCS#7 parts"))
            break
        part = _mail_part(data, found.start())
        if part is None:
            problems.append(malformed(f"the PKCS#7 part at byte {found.start()} is not base64"))
            continue
        inside = read(part)
        certificates |= dict.fromkeys(each for entry in inside.entries for each in entry.certificates)
        crls |= dict.fromkeys(inside.crls)
        problems += inside.problems
    return Container(
        format="pkcs7", entries=_entries(list(certificates)), crls=tuple(crls), problems=tuple(problems)
    )


def _signed_data(data: bytes, certificates: list[bytes], crls: list[bytes]) -> None:
    """Fills the lists as far as it can. Raises Unreadable where it cannot go on."""
    kind, *wrapped = ber.parts(ber.only(data), 2, "ContentInfo")
    if ber.oid(kind) not in (_SIGNED_DATA, _SIGNED_AND_ENVELOPED):
        raise Unreadable(f"its contents are of type {ber.oid(kind)}, not signed data")
    (signed,) = ber.parts(wrapped[0].expect(0xA0, "content"), 1, "the content")[:1]
    for part in signed.expect(SEQUENCE, "SignedData").children():
        # Tags [0] and [1] stand in SignedData itself for nothing but these.
        if part.tag == 0xA0:
            _certificates(part, certificates)
        elif part.tag == 0xA1:
            crls += [each.raw for each in part.children() if each.tag == SEQUENCE]


def _certificates(bag: Element, into: list[bytes]) -> None:
    for each in bag.children():
        # Attribute certificates and others of CertificateChoices (RFC 5652, 10.2.2) have context tags.
        if each.tag == SEQUENCE:
            if len(into) == MAX_CERTIFICATES:
                raise Unreadable(f"more than {MAX_CERTIFICATES} certificates")
            into.append(each.raw)


def _entries(certificates: list[bytes]) -> tuple[Entry, ...]:
    """A SET has no order: one leaf with all others above it is a chain, put in order; all else is a bundle."""
    read = [der.read(each) for each in dict.fromkeys(certificates)]
    leaves = [each for each in read if not each.is_ca]
    if len(leaves) == 1:
        chain = chain_from(leaves[0], read)
        if len(chain) == len(read):
            return (Entry(name="", certificates=chain),)
    return bundle(certificates)


def _mail_part(data: bytes, start: int) -> bytes | None:
    """The part's content, from base64. None: there is none."""
    for gap in (b"\r\n\r\n", b"\n\n"):
        end = data.find(gap, start, start + _MAX_HEADER)
        if end >= 0:
            break
    else:
        return None
    found = _BASE64_LINES.match(data, end)
    packed = b"".join(found.group().split()) if found else b""
    # A boundary's dashes end it; a length that is no multiple of four was cut off there.
    try:
        return base64.b64decode(packed[: len(packed) // 4 * 4], validate=True) or None
    except binascii.Error:
        return None
