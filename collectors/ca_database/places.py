"""Locations: the database itself, and each certificate in it."""

from urllib.parse import quote

from certwatch.model.location import LocationURI

#: Location kind of a CA's database as a whole.
DATABASE_KIND = "ca-database"
#: Location kind of a certificate in one.
RECORD_KIND = "cadb"
#: Location kind of what an ACME client keeps up.
LINEAGE_KIND = "acme"


def database_location(name: str) -> LocationURI:
    return LocationURI(f"{DATABASE_KIND}://{quote(name, safe='')}")


def record_prefix(name: str) -> str:
    return f"{RECORD_KIND}://{quote(name, safe='')}/"


def record_location(prefix: str, serial: str, issuer: str, fingerprint: str) -> LocationURI:
    """`issuer`: tells CAs of one database apart; empty: it has one. `fingerprint`: of a certificate whose serial number
    another of the same CA has already; empty: it has its own."""
    return LocationURI(
        f"{prefix}{serial}{'?ca=' + issuer if issuer else ''}{'#' + fingerprint if fingerprint else ''}"
    )


def lineage_location(name: str, lineage: str) -> LocationURI:
    return LocationURI(f"{LINEAGE_KIND}://{quote(name, safe='')}/{quote(lineage, safe='/')}")
