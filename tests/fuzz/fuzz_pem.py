"""Blocks of PEM."""

from certwatch.x509.pem import blocks
from tests.x509.test_pem import LEAF, ROOT


def seeds() -> list[bytes]:
    return [LEAF.pem, LEAF.key_pem + ROOT.pem, b"text\n" + LEAF.pem.replace(b"\n", b"\r\n"), ROOT.pem * 3]


def TestOneInput(data: bytes) -> None:
    found = list(blocks(data))
    assert sum(len(each.data) for each in found) <= len(data)
    assert all((each.problem is None) == bool(each.data) for each in found)
