"""The configured trust stores, read from their files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import certifi

from certwatch.model.certificate import Certificate
from certwatch.pki.trust import TrustStore
from certwatch.telemetry.logs import get_logger
from certwatch.x509 import pem
from certwatch.x509.der import read

log = get_logger(__name__)

#: The words for what this host trusts, and for Mozilla's roots (by certifi).
SYSTEM = "system"
MOZILLA = "mozilla"
PUBLIC = (SYSTEM, MOZILLA)

#: Where hosts keep it: Debian and Alpine, Fedora and RHEL, SUSE, BSD and macOS.
SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: In a folder, these are read; all else there is something else.
SUFFIXES = (".pem", ".crt", ".cer", ".der")
#: No trust store is larger.
MAX_BYTES = 32 << 20


class TrustError(Exception):
    """A trust store cannot be had. The message says which, why, and what to do."""


def load_trust(
    trust: Mapping[str, Sequence[str]], *, system_files: Sequence[str] = SYSTEM_FILES
) -> Mapping[str, TrustStore]:
    """Every configured store, in its order. Blocking. Raises TrustError for a file that is missing, unreadable or
    without a certificate: judging by half a store would find fault with half of the world. A host without a store
    of its own ("system") is told of in the log, and has an empty one."""
    return {
        name: TrustStore.from_certificates(
            name,
            [each for path in paths for each in _certificates(name, path, system_files)],
            public=all(path in PUBLIC for path in paths),
        )
        for name, paths in trust.items()
    }


def _certificates(name: str, path: str, system_files: Sequence[str]) -> Iterator[Certificate]:
    if path == SYSTEM:
        given = os.environ.get("SSL_CERT_FILE")
        found = given or next((each for each in system_files if os.path.exists(each)), None)
        if found is None:
            log.warning("system_trust_missing", store=name, looked_at=", ".join(system_files))
            return
        path = found
    if path == MOZILLA:
        path = certifi.where()
    files = sorted(_files(name, Path(path)))
    count = 0
    for file in files:
        for certificate in _read(name, file):
            count += 1
            yield certificate
    if not count:
        raise TrustError(
            f"trust.{name}: {path} holds no certificate. Name a PEM or DER file, or a folder of them"
        )


def _files(name: str, path: Path) -> Iterator[Path]:
    try:
        if not path.is_dir():
            yield path
            return
        yield from (each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and each.is_file())
    except OSError as error:
        raise TrustError(f"trust.{name}: {path} cannot be read: {error.strerror}") from error


def _read(name: str, path: Path) -> Iterator[Certificate]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TrustError(
            f"trust.{name}: {path} cannot be read: {error.strerror}. Name a file or folder that exists and that"
            " this user may read"
        ) from error
    if len(data) > MAX_BYTES:
        raise TrustError(f"trust.{name}: {path} is larger than {MAX_BYTES >> 20} MiB: not a trust store")
    if b"-----BEGIN " not in data:
        certificate = read(data)
        if certificate.subject_der is not None:
            yield certificate
        return
    for block in pem.blocks(data):
        if block.is_certificate and block.data:
            yield read(block.data)
