"""The extensions that certwatch looks at (RFC 5280, 4.2), each read by itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

from certwatch.model.certificate import Name
from certwatch.x509.names import general_name
from certwatch.x509.tlv import Unreadable, children, expect, header, object_identifier

#: Names beyond this are not read: a certificate with more is an attack, or a mistake.
MAX_NAMES = 10_000

SCT_LIST = bytes.fromhex("2b06010401d679020402")
CT_POISON = bytes.fromhex("2b06010401d679020403")

#: Bits of KeyUsage (4.2.1.3), first to last.
_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
_PURPOSES = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "2.5.29.37.0": "anyExtendedKeyUsage",
}
_OCSP = bytes.fromhex("2b06010505073001")
_CA_ISSUERS = bytes.fromhex("2b06010505073002")


@dataclass(slots=True)
class Extensions:
    """What was read. Filled while reading, then left alone."""

    names: tuple[Name, ...] = ()
    has_alternative_names: bool = False
    is_ca: bool = False
    path_length: int | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    key_usage: frozenset[str] | None = None
    extended_key_usage: tuple[str, ...] | None = None
    ocsp_urls: tuple[str, ...] = ()
    issuer_urls: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] = ()
    must_staple: bool = False
    #: The extensions' bytes without SCT list and CT poison. None: neither is there.
    kept_without_ct: bytes | None = None
    problems: list[str] = field(default_factory=list)


def read(raw: bytes) -> Extensions:
    """Never raises."""
    found = Extensions()
    kept: list[bytes] = []
    seen: set[bytes] = set()
    has_ct = False
    try:
        slices = _slices(raw)
    except Unreadable as error:
        # Whether there are names is then not known: that is not the same as none.
        found.has_alternative_names = True
        found.problems.append(f"extensions: {error}")
        return found
    for value, whole in slices:
        try:
            oid, content = _extension(value)
        except Unreadable as error:
            found.problems.append(f"an extension: {error}")
            kept.append(whole)
            continue
        if oid in (SCT_LIST, CT_POISON):
            has_ct = True
            continue
        kept.append(whole)
        if oid in seen:
            found.problems.append(f"extension {_dotted(oid)} is there twice")
        seen.add(oid)
        reader = _READERS.get(oid)
        if reader is None:
            continue
        what, take = reader
        try:
            take(found, content)
        except Unreadable as error:
            found.problems.append(f"{what}: {error}")
    if has_ct:
        found.kept_without_ct = b"".join(kept)
    return found


def _slices(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Value and whole bytes of each extension."""
    _, position, end = header(raw, 0, len(raw))
    slices = []
    while position < end:
        _, start, stop = header(raw, position, end)
        slices.append((raw[start:stop], raw[position:stop]))
        position = stop
    return slices


def _extension(value: bytes) -> tuple[bytes, bytes]:
    parts = children(value)
    # extnID, critical DEFAULT FALSE, extnValue.
    if len(parts) not in (2, 3) or parts[0][0] != 0x06 or parts[-1][0] != 0x04:
        raise Unreadable("not identifier, criticality and value")
    return parts[0][1], parts[-1][1]


def _dotted(oid: bytes) -> str:
    try:
        return object_identifier(oid)
    except Unreadable:
        return oid.hex()


def _alternative_names(found: Extensions, content: bytes) -> None:
    found.has_alternative_names = True
    names = list(found.names)
    for tag, value in children(expect(content, 0x30, "a SEQUENCE")):
        if len(names) >= MAX_NAMES:
            found.problems.append(
                f"subject alternative name: more than {MAX_NAMES}, the others were not read"
            )
            break
        try:
            names.append(general_name(tag, value))
        except Unreadable as error:
            found.problems.append(f"subject alternative name: {error}")
    found.names = tuple(names)


def _basic_constraints(found: Extensions, content: bytes) -> None:
    for tag, value in children(expect(content, 0x30, "a SEQUENCE")):
        if tag == 0x01:
            found.is_ca = value != b"\0"
        elif tag == 0x02:
            found.path_length = int.from_bytes(value, "big", signed=True)


def _key_usage(found: Extensions, content: bytes) -> None:
    value = expect(content, 0x03, "a BIT STRING")
    bits = int.from_bytes(value[1:3].ljust(2, b"\0"), "big")
    found.key_usage = frozenset(name for index, name in enumerate(_USAGES) if bits & 0x8000 >> index)


def _extended_key_usage(found: Extensions, content: bytes) -> None:
    purposes = [
        object_identifier(value)
        for tag, value in children(expect(content, 0x30, "a SEQUENCE"))
        if tag == 0x06
    ]
    found.extended_key_usage = tuple(_PURPOSES.get(each, each) for each in purposes)


def _subject_key_id(found: Extensions, content: bytes) -> None:
    found.subject_key_id = expect(content, 0x04, "an OCTET STRING")


def _authority_key_id(found: Extensions, content: bytes) -> None:
    for tag, value in children(expect(content, 0x30, "a SEQUENCE")):
        if tag == 0x80:
            found.authority_key_id = value


def _authority_information_access(found: Extensions, content: bytes) -> None:
    for _, description in children(expect(content, 0x30, "a SEQUENCE")):
        parts = children(description)
        if len(parts) != 2 or parts[1][0] != 0x86:
            continue
        if parts[0][1] == _OCSP:
            found.ocsp_urls += (_url(parts[1][1]),)
        elif parts[0][1] == _CA_ISSUERS:
            found.issuer_urls += (_url(parts[1][1]),)


def _crl_distribution_points(found: Extensions, content: bytes) -> None:
    for _, point in children(expect(content, 0x30, "a SEQUENCE")):
        for tag, name in children(point):
            if tag != 0xA0:
                continue
            for name_tag, full in children(name):
                if name_tag == 0xA0:
                    found.crl_urls += tuple(_url(value) for kind, value in children(full) if kind == 0x86)


def _tls_feature(found: Extensions, content: bytes) -> None:
    # 5 is status_request (RFC 7633, 6).
    features = [value for tag, value in children(expect(content, 0x30, "a SEQUENCE")) if tag == 0x02]
    found.must_staple = b"\x05" in features


def _url(value: bytes) -> str:
    return general_name(0x86, value).removeprefix("uri:")


_READERS: dict[bytes, tuple[str, Callable[[Extensions, bytes], None]]] = {
    bytes.fromhex("551d11"): ("subject alternative name", _alternative_names),
    bytes.fromhex("551d13"): ("basic constraints", _basic_constraints),
    bytes.fromhex("551d0f"): ("key usage", _key_usage),
    bytes.fromhex("551d25"): ("extended key usage", _extended_key_usage),
    bytes.fromhex("551d0e"): ("subject key identifier", _subject_key_id),
    bytes.fromhex("551d23"): ("authority key identifier", _authority_key_id),
    bytes.fromhex("2b06010505070101"): ("authority information access", _authority_information_access),
    bytes.fromhex("551d1f"): ("CRL distribution points", _crl_distribution_points),
    bytes.fromhex("2b06010505070118"): ("TLS feature", _tls_feature),
}
