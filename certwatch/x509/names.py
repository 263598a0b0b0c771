"""Names in certificates, as text that can be shown: nothing hostile reaches a terminal, nothing is lost."""

import re
from functools import lru_cache
from ipaddress import ip_address

from certwatch.model.certificate import Name
from certwatch.x509.tlv import Unreadable, children, expect, object_identifier

#: Short names by RFC 4514, 3, and beyond it those that OpenSSL prints.
_ATTRIBUTES = {
    bytes.fromhex(oid): name
    for oid, name in {
        "550403": "CN",
        "550404": "SN",
        "550405": "serialNumber",
        "550406": "C",
        "550407": "L",
        "550408": "ST",
        "550409": "STREET",
        "55040a": "O",
        "55040b": "OU",
        "55040c": "title",
        "55040f": "businessCategory",
        "550411": "postalCode",
        "55042a": "GN",
        "550461": "organizationIdentifier",
        "2a864886f70d010901": "emailAddress",
        "0992268993f22c640101": "UID",
        "0992268993f22c640119": "DC",
        "2b0601040182373c020101": "jurisdictionL",
        "2b0601040182373c020102": "jurisdictionST",
        "2b0601040182373c020103": "jurisdictionC",
    }.items()
}
_COMMON_NAME = bytes.fromhex("550403")

#: Encodings of the string types (X.680). TeletexString is read as Latin-1, as everybody does.
_STRINGS = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
_PLAIN_HOST = re.compile(rb"[A-Za-z0-9.*_-]+")
#: Nearly all values: nothing to escape inside, no space at either end, no number sign in front (RFC 4514, 2.4).
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9.*_'()/:=?@&-](?:[A-Za-z0-9 .*_'()/:=?@&-]*[A-Za-z0-9.*_'()/:=?@&-])?")
_PLAIN_TEXT = re.compile(rb"[!-\[\]-~]+")
_SPECIAL = frozenset(',+"\\<>;')


# Few issuers issue many certificates.
@lru_cache(maxsize=4096)
def distinguished_name(raw: bytes) -> str:
    """RFC 4514 string of a Name: last RDN first. A value of an unknown type is "#" and its hex."""
    return ",".join(
        "+".join(f"{_attribute(oid)}={_value(tag, value)}" for oid, tag, value in relative)
        for relative in reversed(_relative_names(raw))
    )


def attributes(raw: bytes) -> list[tuple[str, str]]:
    """Every attribute of a Name, first to last, as dotted OID and text; undecodable bytes as U+FFFD, a value that is no
    string as "#" and its hex. Raises Unreadable."""
    return [
        (
            object_identifier(oid),
            value.decode(_STRINGS[tag], "replace") if tag in _STRINGS else f"#{tag:02x}{value.hex()}",
        )
        for relative in _relative_names(raw)
        for oid, tag, value in relative
    ]


def common_names(raw: bytes) -> list[str]:
    """Every CN's text, first to last; undecodable bytes as U+FFFD."""
    return [
        value.decode(_STRINGS[tag], "replace")
        for relative in _relative_names(raw)
        for oid, tag, value in relative
        if oid == _COMMON_NAME and tag in _STRINGS
    ]


def _relative_names(raw: bytes) -> list[list[tuple[bytes, int, bytes]]]:
    names = []
    for tag, relative in children(expect(raw, 0x30, "a SEQUENCE")):
        if tag != 0x31:
            raise Unreadable("a relative name is not a SET")
        pairs = []
        for pair_tag, pair in children(relative):
            both = children(pair)
            if pair_tag != 0x30 or len(both) != 2 or both[0][0] != 0x06:
                raise Unreadable("a relative name is not of attribute and value")
            pairs.append((both[0][1], *both[1]))
        names.append(pairs)
    return names


def _attribute(oid: bytes) -> str:
    return _ATTRIBUTES.get(oid) or object_identifier(oid)


def _value(tag: int, value: bytes) -> str:
    encoding = _STRINGS.get(tag)
    if encoding is None:
        return f"#{tag:02x}{value.hex()}"
    text = value.decode(encoding, "replace")
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return escape(text, special=_SPECIAL, ends=True)


def escape(text: str, *, special: frozenset[str] = frozenset("\\"), ends: bool = False) -> str:
    """Characters that cannot be shown safely (controls, direction marks, unassigned) as \\XX of their UTF-8."""
    shown = []
    for index, character in enumerate(text):
        if character in special:
            shown.append("\\" + character)
        elif not character.isprintable():
            shown.append("".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogatepass")))
        elif ends and (
            (character == " " and index in (0, len(text) - 1)) or (character == "#" and index == 0)
        ):
            shown.append("\\" + character)
        else:
            shown.append(character)
    return "".join(shown)


def dns_name(value: bytes) -> Name:
    """Lower case, as DNS compares. Bytes that no host name has are \\XX: a NUL inside is seen, not an end."""
    if _PLAIN_HOST.fullmatch(value):
        return Name("dns:" + value.decode("ascii").lower())
    return Name("dns:" + _hex_escaped(value).lower())


def _hex_escaped(value: bytes) -> str:
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x5C else f"\\{byte:02X}" for byte in value)


def general_name(tag: int, value: bytes) -> Name:
    """A GeneralName (RFC 5280, 4.2.1.6) with its kind in front. Raises Unreadable."""
    kind = tag & 0x1F
    if kind == 2:
        return dns_name(value)
    if kind == 7:
        if len(value) not in (4, 16):
            raise Unreadable(f"an address of {len(value)} bytes")
        return Name(f"ip:{ip_address(value)}")
    if kind in (1, 6):
        if _PLAIN_TEXT.fullmatch(value):
            return Name(("email:" if kind == 1 else "uri:") + value.decode("ascii"))
        return Name(f"{'email' if kind == 1 else 'uri'}:{_hex_escaped(value)}")
    if kind == 4:
        return Name(f"dirname:{distinguished_name(value)}")
    if kind == 8:
        return Name(f"rid:{object_identifier(value)}")
    if kind == 0:
        inner = children(value)
        oid = object_identifier(inner[0][1]) if inner and inner[0][0] == 0x06 else "?"
        return Name(f"other:{oid}")
    return Name(f"other:[{kind}]")
