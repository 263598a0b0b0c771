"""Traefik's acme.json: by resolver, each certificate with its chain in base64 (traefik/traefik, pkg/provider/acme).

The file holds private keys as well; of those nothing is decoded.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

import msgspec

from collectors.ca_database.acme.lineage import Lineage, Unreadable, chain_of, read_bytes
from collectors.ca_database.record import ReadFailed

#: Some thousand bytes a certificate.
MAX_BYTES = 256 << 20
NEEDED = "Name Traefik's acme.json in `path`"


class _Domain(msgspec.Struct):
    main: str = ""
    sans: list[str] | None = None


class _Certificate(msgspec.Struct):
    domain: _Domain = msgspec.field(default_factory=_Domain)
    certificate: str = ""


class _Resolver(msgspec.Struct):
    # None: what Go writes for an empty list.
    certificates: list[_Certificate] | None = msgspec.field(default=None, name="Certificates")


class _OldDomain(msgspec.Struct):
    main: str = msgspec.field(default="", name="Main")
    sans: list[str] | None = msgspec.field(default=None, name="SANs")


class _OldCertificate(msgspec.Struct):
    domain: _OldDomain = msgspec.field(default_factory=_OldDomain, name="Domain")
    certificate: str = msgspec.field(default="", name="Certificate")


class _Old(msgspec.Struct):
    """As version 1 wrote it."""

    certificates: list[_OldCertificate] | None = msgspec.field(default=None, name="Certificates")


def read_traefik(path: str) -> Iterator[Lineage]:
    """Raises ReadFailed."""
    try:
        data = read_bytes(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise ReadFailed("not-found", f"{path}: is not there. {NEEDED}") from error
    except Unreadable as error:
        raise ReadFailed(error.error.kind, error.error.message) from error
    if not data.strip():
        return  # Traefik makes it empty, and writes it with the first certificate
    found = parse(data, path)
    names = Counter(name for name, _, _ in found)
    for name, names_of, body in found:
        if names[name] > 1:
            # Two certificates with one main name: the other names tell them apart.
            name += "+" + sha256(" ".join(sorted(names_of)).encode()).hexdigest()[:8]
        try:
            yield Lineage(name=name, chain=_decoded(body, f"{path}: {name}"))
        except Unreadable as error:
            yield Lineage(name=name, chain=(), problem=error.error)


def parse(data: bytes, where: str) -> list[tuple[str, list[str], str]]:
    """Name of the lineage, other names, chain in base64. Raises ReadFailed."""
    try:
        parts = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if isinstance(msgspec.json.decode(parts.get("Certificates") or b"0"), list):
            old = msgspec.json.decode(data, type=_Old)
            return [
                (each.domain.main, each.domain.sans or [], each.certificate)
                for each in old.certificates or ()
            ]
        resolvers = {name: msgspec.json.decode(each, type=_Resolver | None) for name, each in parts.items()}
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ReadFailed("malformed", f"{where}: is no acme.json: {error}. {NEEDED}") from error
    return [
        (f"{name}/{each.domain.main}", each.domain.sans or [], each.certificate)
        for name, resolver in resolvers.items()
        if resolver is not None
        for each in resolver.certificates or ()
    ]


def _decoded(body: str, where: str) -> tuple[bytes, ...]:
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable("malformed", f"{where}: its certificate is no base64. See Traefik's log") from error
    return chain_of(data, where)
