"""Certificates in DER."""

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509 import der


def seeds() -> list[bytes]:
    root = make_ca()
    many = make_certificate(names=("dns:a.example.com", "ip:2001:db8::1", "email:a@example.com"), issuer=root)
    return [root.der, many.der]


def TestOneInput(data: bytes) -> None:
    found = der.read(data)
    assert found.der == data
    assert found.subject.isprintable()
    assert found.issuer.isprintable()
    assert all(name.isprintable() for name in found.names)
