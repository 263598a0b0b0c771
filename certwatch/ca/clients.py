"""Who a client certificate belongs to: one that this CA made for clients, in force, not revoked by its own tables."""

import sqlite3
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.issue import serial_bytes
from certwatch.ca.names import name_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    #: Its first name ("uri:spiffe://…", "email:…", "dns:…"); without any "cn:" and the common name.
    requester: str
    #: Hex, of the certificate that it came with.
    serial: str
    #: All of its names, the common one as "cn:".
    names: tuple[str, ...] = ()


def client_of(authority: Authority, der: bytes) -> Client:
    """Raises CAError "refused"."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CAError("refused", "the client certificate is not one for clients") from error
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise CAError("refused", "the client certificate is not one for clients")
    serial = serial_bytes(certificate.serial_number)

    def row(connection: sqlite3.Connection) -> tuple[bytes | None, int | None] | None:
        found: tuple[bytes | None, int | None] | None = connection.execute(
            "SELECT der, revoked FROM certificates WHERE serial = ?", (serial,)
        ).fetchone()
        return found

    found = authority.readers.ask(row)
    # The handshake has verified the chain; that it is the very one that is on record is asked here.
    if found is None or found[0] != certificate.public_bytes(Encoding.DER):
        raise CAError("refused", "the client certificate was not made by this CA")
    if found[1] is not None:
        raise CAError("refused", "the client certificate is revoked")
    now = authority.clock()
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise CAError("refused", "the client certificate is not in force")
    names = _names(certificate)
    requester = names[0] if names else f"serial:{certificate.serial_number:x}"
    return Client(requester=requester, serial=serial.hex(), names=names)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [name_of(each) for each in found]
    except x509.ExtensionNotFound:
        names = []
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return (*names, *(f"cn:{each.value}" for each in common if isinstance(each.value, str)))
