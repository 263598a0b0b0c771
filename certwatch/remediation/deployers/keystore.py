"""A PKCS#12 keystore with one key and its chain: written anew under the same passphrase and name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.files_of_server import FilesOfServer, FilesOfServerDeployer
from certwatch.remediation.deployers.former import is_former, not_as_planned
from certwatch.remediation.deployers.replaced import (
    Held,
    Replaced,
    put_back,
    replace_files,
    resolved,
    told,
)
from certwatch.remediation.material import split_pem


class KeystoreConfig(FilesOfServer):
    #: File with the passphrase of the keystores, in its first line.
    passphrase_file: str


class KeystoreDeployer(FilesOfServerDeployer):
    Config: ClassVar[type[DeployerConfig]] = KeystoreConfig
    place = "a PKCS#12 keystore"

    def __init__(self, config: KeystoreConfig, context: DeployerContext) -> None:
        super().__init__(config)
        self._config = config

    def _path_of(self, target: Target) -> Path | None:
        parts = urlsplit(target.uri)
        if parts.scheme != "file" or parts.query or not parts.path.endswith((".p12", ".pfx")):
            return None
        return Path(unquote(parts.path))

    def _deploy(self, target: Target, material: Material) -> None:
        with self._opened(target) as file:
            former = self._kept(file, target)
            if former is None:
                former = self._read(file.path, file.read())
                _check(former, target)
                file.keep()
            replace_files(Replaced(file, self._made(former, material), secret=True))

    def _kept(self, file: Held, target: Target) -> PKCS12KeyAndCertificates | None:
        """None: nothing is kept, or another roll-out's."""
        data = file.kept()
        if data is None:
            return None
        found = self._read(file.path, data)
        return found if _is_former(found, target) else None

    def _forget(self, target: Target) -> None:
        with self._opened(target) as file:
            if file.kept() is None or self._kept(file, target) is not None:
                file.forget()

    @contextmanager
    def _opened(self, target: Target) -> Iterator[Held]:
        path = self._path(target)
        with told(path), Held(resolved(path)) as file:
            yield file

    def _made(self, former: PKCS12KeyAndCertificates, material: Material) -> bytes:
        leaf, *above = (x509.load_der_x509_certificate(each) for each in split_pem(material.chain_pem))
        key = serialization.load_pem_private_key(material.key_pem, None)
        passphrase = self._passphrase()
        protection: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        name = former.cert.friendly_name if former.cert is not None else None
        return pkcs12.serialize_key_and_certificates(name, key, leaf, above, protection)  # type: ignore[arg-type]

    def _present(self, target: Target) -> tuple[bytes, ...]:
        with self._opened(target) as file:
            found = self._read(file.path, file.read())
        return tuple(
            each.certificate.public_bytes(serialization.Encoding.DER)
            for each in (found.cert, *_above(found))
            if each is not None
        )

    def _undo(self, target: Target) -> None:
        with self._opened(target) as file:
            if self._kept(file, target) is not None:
                put_back(file)

    def _passphrase(self) -> bytes:
        try:
            lines = Path(self._config.passphrase_file).read_bytes().splitlines()
        except OSError as error:
            raise DeployFailed(
                "permission", f"{self._config.passphrase_file}: cannot be read: {error.strerror}"
            ) from error
        return lines[0] if lines else b""

    def _read(self, path: Path, data: bytes) -> PKCS12KeyAndCertificates:
        try:
            return pkcs12.load_pkcs12(data, self._passphrase())
        except ValueError as error:
            raise DeployFailed(
                "other", f"{path}: is no PKCS#12 that the passphrase of the config opens: {error}"
            ) from error


def _above(found: PKCS12KeyAndCertificates) -> list[pkcs12.PKCS12Certificate]:
    """What is above the certificate, in order, whatever the order in the file."""
    chain: list[pkcs12.PKCS12Certificate] = []
    rest = list(found.additional_certs)
    last = found.cert
    while last is not None:
        above = next((each for each in rest if each.certificate.subject == last.certificate.issuer), None)
        if above is not None:
            rest.remove(above)
            chain.append(above)
        last = above
    return chain


def _is_former(found: PKCS12KeyAndCertificates, target: Target) -> bool:
    leaf = [found.cert.certificate.public_bytes(serialization.Encoding.DER)] if found.cert is not None else []
    return is_former(leaf, target.former)


def _check(found: PKCS12KeyAndCertificates, target: Target) -> None:
    """Raises DeployFailed: it is not as it was planned, or has more than would be written."""
    if not _is_former(found, target):
        raise not_as_planned()
    if len(_above(found)) != len(found.additional_certs):
        raise DeployFailed(
            "other", "holds more than one key with its chain, which would be lost. Have a command write it"
        )
