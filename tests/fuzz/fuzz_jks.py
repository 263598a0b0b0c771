"""JKS and JCEKS."""

from certwatch.x509 import jks
from tests.x509.test_keystores import JCEKS, JKS


def seeds() -> list[bytes]:
    return [JKS, JCEKS]


def TestOneInput(data: bytes) -> None:
    jks.looks_like(data)
    jks.read(data, ("wrong", "changeit"))
