"""What a client must show, and whether what was found is that. Values only; looking is validate.py's."""

import hashlib
from collections.abc import Iterable

from cryptography import x509

from certwatch.ca.acme.identifiers import Identifier
from certwatch.ca.acme.jws import encode
from certwatch.ca.acme.problem import Problem
from certwatch.model.shown import shown

#: id-pe-acmeIdentifier (RFC 8737, 3).
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


def types(identifier: Identifier) -> tuple[str, ...]:
    """RFC 8555, 8.3 and 8.4; RFC 8737; RFC 8738, 7: no DNS for addresses, and nothing but DNS for wildcards."""
    if identifier.is_wildcard:
        return ("dns-01",)
    if identifier.kind == "ip":
        return ("http-01", "tls-alpn-01")
    return ("http-01", "dns-01", "tls-alpn-01")


def key_authorization(token: str, thumbprint: bytes) -> str:
    """RFC 8555, 8.1."""
    return f"{token}.{encode(thumbprint)}"


def check_http(body: bytes, expected: str, url: str) -> None:
    """Raises Problem."""
    # White space at the end is let pass (RFC 8555, 8.3).
    if body.rstrip() != expected.encode():
        text = shown(body[:80].decode("ascii", "backslashreplace"))
        raise Problem("unauthorized", f'{url}: answers "{text}", not the key authorization "{expected}"')


def check_dns(texts: Iterable[bytes], expected: str, name: str) -> None:
    """Raises Problem."""
    found = list(texts)
    wanted = encode(hashlib.sha256(expected.encode()).digest())
    if wanted.encode() not in found:
        seen = ", ".join(f'"{shown(each[:80].decode("ascii", "backslashreplace"))}"' for each in found[:3])
        what = f"has TXT {seen}" if found else "has no TXT record"
        raise Problem("unauthorized" if found else "dns", f'{name}: {what}, not "{wanted}"')


def check_alpn(der: bytes, expected: str, identifier: Identifier, where: str) -> None:
    """The certificate that was presented for acme-tls/1 (RFC 8737, 3). Raises Problem."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        extension = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise Problem(
            "unauthorized", f"{where}: its certificate has no subjectAltName or no acmeIdentifier"
        ) from error
    kinds: list[str] = [str(each.value) for each in names if isinstance(each, (x509.DNSName, x509.IPAddress))]
    if len(list(names)) != 1 or [each.lower() for each in kinds] != [identifier.value]:
        raise Problem("unauthorized", f"{where}: its certificate is not for {identifier.value} alone")
    value = extension.value
    digest = hashlib.sha256(expected.encode()).digest()
    if (
        not extension.critical
        or not isinstance(value, x509.UnrecognizedExtension)
        or not _is_octets(value.value, digest)
    ):
        raise Problem(
            "unauthorized",
            f"{where}: the acmeIdentifier of its certificate is not critical or of another key",
        )


def _is_octets(der: bytes, digest: bytes) -> bool:
    # An OCTET STRING of 32 bytes.
    return der == b"\x04\x20" + digest
