"""PKCS#12, with the right passphrase and a wrong one."""

from certwatch.x509 import pkcs12
from tests.x509.test_keystores import CLEAR, KEYTOOL, SEALED


def seeds() -> list[bytes]:
    return [CLEAR, SEALED, KEYTOOL]


def TestOneInput(data: bytes) -> None:
    pkcs12.looks_like(data)
    pkcs12.read(data, ("wrong", "changeit"))
