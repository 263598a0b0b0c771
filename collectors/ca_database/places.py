"""Locations: the database itself, and each certificate in it."""

from hashlib import sha256
from urllib.parse import quote

from certwatch.model.location import LocationURI

#: Location kind of a CA's database as a whole.
DATABASE_KIND = "ca-database"
#: Location kind of a certificate in one.
RECORD_KIND = "cadb"
#: Location kind of what an ACME client keeps up.
LINEAGE_KIND = "acme"
#: Hex digits of a serial number that a location has as they are.
LONGEST_SERIAL = 128


def database_location(name: str) -> LocationURI:
    return LocationURI(f"{DATABASE_KIND}://{quote(name, safe='')}")


def record_prefix(name: str) -> str:
    return f"{RECORD_KIND}://{quote(name, safe='')}/"


def record_location(prefix: str, serial: str, issuer: str, fingerprint: str) -> LocationURI:
    """`issuer`: tells CAs of one database apart; empty: it has one. `fingerprint`: of a certificate whose serial number
    another of the same CA has already; empty: it has its own."""
    if len(serial) > LONGEST_SERIAL:
        # No serial number has more than 20 octets (RFC 5280, 4.1.2.2): by its digest, so that it stays one place.
        serial = f"{serial[:40]}-{sha256(serial.encode()).hexdigest()[:16]}"
    return LocationURI(
        f"{prefix}{serial}{'?ca=' + issuer if issuer else ''}{'#' + fingerprint if fingerprint else ''}"
    )


def lineage_location(name: str, lineage: str) -> LocationURI:
    return LocationURI(f"{LINEAGE_KIND}://{quote(name, safe='')}/{quote(lineage, safe='/')}")
