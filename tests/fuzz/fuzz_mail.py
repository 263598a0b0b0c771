"""Signed mail."""

import base64

from certwatch.x509 import pkcs7
from tests.x509.test_keystores import P7B


def seeds() -> list[bytes]:
    part = b"Content-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\n" + base64.encodebytes(P7B)
    return [part, b"From: a@example.com\r\n\r\n--x\r\n" + part + b"--x\r\n" + part + b"--x--\r\n"]


def TestOneInput(data: bytes) -> None:
    pkcs7.looks_like_mail(data)
    pkcs7.read_mail(data)
