"""The Certificate message of TLS 1.2 and 1.3. The first byte chooses the version."""

from certwatch.doors.certificate_message import TLS13, read_certificate, read_server_hello, read_status
from certwatch.plugins.testing import make_certificate


def seeds() -> list[bytes]:
    der = make_certificate().der
    entry = len(der).to_bytes(3, "big") + der
    old = len(entry).to_bytes(3, "big") + entry
    status = b"\x01\x00\x00\x03abc"
    extension = b"\x00\x05" + len(status).to_bytes(2, "big") + status
    extension += b"\x00\x12\x00\x04scts"
    entry += len(extension).to_bytes(2, "big") + extension
    new = b"\x00" + len(entry).to_bytes(3, "big") + entry
    return [
        version + b"\x0b" + len(body).to_bytes(3, "big") + body
        for version, body in ((b"\x00", old), (b"\x01", new))
    ]


def TestOneInput(data: bytes) -> None:
    version = TLS13 if data[:1] > b"\x00" else 0x0303
    found = read_certificate(data[1:], version)
    assert sum(map(len, found.chain)) <= len(data)
    read_status(data)
    read_server_hello(data)
