"""Names of certificates as exporters written in Go put them in labels (crypto/x509/pkix, net/netip)."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from certwatch.model.certificate import Certificate
from certwatch.x509.names import attributes
from certwatch.x509.tlv import Unreadable

#: The attributes that Go keeps by name, in the order in which it writes them (a Name's own order is lost to it).
STANDARD: tuple[tuple[str, str], ...] = (
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.3", "CN"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("2.5.4.11", "OU"),
    ("2.5.4.10", "O"),
    ("2.5.4.6", "C"),
)
_NAMES = dict(STANDARD)
#: Of these Go keeps the last alone.
_SINGLE = frozenset({"CN", "SERIALNUMBER"})
_SPECIAL = frozenset(',+"\\<>;')
#: Between two attributes (RFC 4514, 3): a comma or plus sign that is not escaped.
_SPLIT = re.compile(r"(?<!\\)[,+]")
_ESCAPED = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)|\\(.)")
_PRINTABLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")


@lru_cache(maxsize=8192)
def fields(raw: bytes | None) -> dict[str, tuple[str, ...]]:
    """Values by short name ("CN", "OU"), of the attributes that Go keeps by name. Empty: unreadable."""
    found: dict[str, tuple[str, ...]] = {}
    for oid, text in _attributes(raw):
        if name := _NAMES.get(oid):
            found[name] = (text,) if name in _SINGLE else (*found.get(name, ()), text)
    return found


@lru_cache(maxsize=8192)
def distinguished_name(raw: bytes | None) -> str:
    """As pkix.Name.String() writes it."""
    known = fields(raw)
    parts = [
        "+".join(f"{name}={_escaped(each)}" for each in known[name]) for _, name in STANDARD if name in known
    ]
    others = [(oid, text) for oid, text in _attributes(raw) if oid not in _NAMES]
    parts += [f"{oid}=#{_der(text).hex()}" for oid, text in reversed(others)]
    return ",".join(parts)


def _attributes(raw: bytes | None) -> Sequence[tuple[str, str]]:
    try:
        return attributes(raw) if raw is not None else ()
    except Unreadable:
        return ()


def _escaped(text: str) -> str:
    last = len(text) - 1
    return "".join(
        "\\" + each
        if each in _SPECIAL or (each == " " and at in (0, last)) or (each == "#" and at == 0)
        else each
        for at, each in enumerate(text)
    )


def _der(text: str) -> bytes:
    tag = 0x13 if all(each in _PRINTABLE for each in text) else 0x0C
    value = text.encode("utf-8", "replace")
    length = len(value)
    if length < 128:
        return bytes((tag, length)) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + value


def names_of(certificate: Certificate, kind: str) -> list[str]:
    """Subject alternative names of one kind ("dns", "ip", "email"), without it. Go has none from the subject."""
    if certificate.names_from_common_name:
        return []
    return [value for each, _, value in (name.partition(":") for name in certificate.names) if each == kind]


def enclosed(values: Iterable[str]) -> str:
    """`,a,b,` as ssl_exporter has it, so that `,a,` finds one. Empty: none."""
    joined = ",".join(values)
    return f",{joined}," if joined else ""


def ssl_labels(certificate: Certificate) -> dict[str, str]:
    """As ssl_exporter labels every certificate."""
    subject, issuer = fields(certificate.subject_der), fields(certificate.issuer_der)
    return {
        "cn": "".join(subject.get("CN", ())),
        "dnsnames": enclosed(names_of(certificate, "dns")),
        "emails": enclosed(names_of(certificate, "email")),
        "ips": enclosed(names_of(certificate, "ip")),
        "issuer_cn": "".join(issuer.get("CN", ())),
        "ou": enclosed(subject.get("OU", ())),
        "serial_no": "" if certificate.serial_number is None else str(certificate.serial_number),
    }


def parsed(text: str) -> dict[str, tuple[str, ...]]:
    """Values by short name, of a name that is known by its RFC 4514 string alone."""
    found: dict[str, tuple[str, ...]] = {}
    for part in _SPLIT.split(text):
        name, equals, value = part.partition("=")
        if equals:
            found[name] = (*found.get(name, ()), _ESCAPED.sub(_unescaped, value))
    return found


def _unescaped(match: re.Match[str]) -> str:
    return match[2] or bytes.fromhex(match[1].replace("\\", "")).decode("utf-8", "replace")
