"""Revocation lists."""

from cryptography import x509

from certwatch.x509 import crl
from tests.x509.test_crl import make_crl


def seeds() -> list[bytes]:
    point = x509.IssuingDistributionPoint(
        [x509.UniformResourceIdentifier("http://crl.example.com/1.crl")],
        None,
        True,
        False,
        None,
        False,
        False,
    )
    number = (x509.CRLNumber(7), False)
    return [make_crl(number), make_crl((point, True)), make_crl((x509.DeltaCRLIndicator(3), True), number)]


def TestOneInput(data: bytes) -> None:
    if crl.looks_like(data):
        assert crl.begins(data)
    found = crl.read(data)
    assert found.issuer.isprintable()
    assert found.kind
