"""OpenVPN profiles."""

from certwatch.x509 import openvpn
from tests.x509.test_openvpn import PROFILE


def seeds() -> list[bytes]:
    return [
        PROFILE,
        b"client\nremote vpn.example.com\nca ca.pem\ncert 'my cert.pem'\nkey k.pem\npkcs12 a.p12\n",
    ]


def TestOneInput(data: bytes) -> None:
    openvpn.looks_like(data)
    openvpn.read(data, ("changeit",))
