"""PKCS#7 and CMS."""

from certwatch.x509 import pkcs7
from tests.x509.test_keystores import P7B
from tests.x509.test_pkcs7 import LEAF, MIDDLE, ROOT, bag


def seeds() -> list[bytes]:
    chain = (LEAF.der, MIDDLE.der, ROOT.der)
    return [P7B, bag(*chain), bag(*chain, indefinite=True)]


def TestOneInput(data: bytes) -> None:
    pkcs7.looks_like(data)
    pkcs7.read(data)
