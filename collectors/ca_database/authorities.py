"""The CA's own certificates, from the files that the config names or that lie beside an OpenSSL index."""

import os

from certwatch.x509 import pem
from collectors.ca_database.config import CADatabaseConfig
from collectors.ca_database.record import ReadFailed

#: What `openssl ca` and easy-rsa call the CA's certificate.
USUAL = ("cacert.pem", "ca.crt", "ca.pem")
MAX_BYTES = 1 << 20
MOST = 100


def read_authorities(config: CADatabaseConfig) -> tuple[bytes, ...]:
    """Each one's DER. Raises ReadFailed for a file that the config names. Blocking."""
    found: list[bytes] = []
    for path in config.authorities:
        expanded = os.path.expanduser(path)
        try:
            with open(expanded, "rb", opener=_opener) as file:
                data = file.read(MAX_BYTES) or b""
        except OSError as error:
            raise ReadFailed(
                "not-found" if isinstance(error, FileNotFoundError) else "permission",
                f"{path}: cannot be read: {error.strerror}. Correct `authorities`",
            ) from error
        read = _certificates(data)
        if not read:
            raise ReadFailed("malformed", f"{path}: has no certificate in it. Correct `authorities`")
        found += read
    if not config.authorities and config.preset == "openssl" and config.path is not None:
        path = os.path.expanduser(config.path)
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        for name in USUAL:
            try:
                with open(os.path.join(folder, name), "rb", opener=_opener) as file:
                    found += _certificates(file.read(MAX_BYTES) or b"")
            except OSError:
                continue
    return tuple(dict.fromkeys(found))[:MOST]


def _opener(path: str, flags: int) -> int:
    # A pipe that nobody writes to would wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _certificates(data: bytes) -> list[bytes]:
    if data.startswith(b"\x30"):
        return [data]
    return [each.data for each in pem.blocks(data) if each.is_certificate and each.data]
