"""Trust stores of the config: from files, folders and the platform's bundle to certificates."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from certwatch.config.mistakes import ConfigError, printable
from certwatch.config.settings import Config
from certwatch.model.certificate import Certificate
from certwatch.x509.der import read
from certwatch.x509.pem import blocks

#: Where platforms keep the bundle, beside where OpenSSL says: Debian, Red Hat, SUSE, Alpine and macOS.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

#: A bundle of every public root is a quarter of a megabyte.
MAX_BYTES = 32 << 20
MAX_FILES = 10_000


def load(config: Config) -> list[tuple[str, list[Certificate]]]:
    """Every trust store with its anchors, in the configured order. Raises ConfigError with all that is wrong."""
    return load_stores(config.trust, where=config.name)


def load_stores(trust: Mapping[str, Sequence[str]], *, where: str) -> list[tuple[str, list[Certificate]]]:
    """`where` stands in front of what is said."""
    stores = []
    mistakes = []
    for name, sources in trust.items():
        anchors: dict[bytes, Certificate] = {}
        for source in sources:
            try:
                found = system() if source == "system" else from_path(Path(source).expanduser())
            except (OSError, RuntimeError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                mistakes.append(f"{where}: trust.{name}: {source}: {reason}")
                continue
            anchors |= {each.fingerprint_sha256: each for each in found}
        stores.append((name, list(anchors.values())))
    if mistakes:
        raise ConfigError(printable(each) for each in mistakes)
    return stores


def system() -> list[Certificate]:
    """The platform's own trust anchors. Raises ValueError: there are none."""
    paths = ssl.get_default_verify_paths()
    for file in (paths.cafile, *SYSTEM_BUNDLES):
        if file is not None and Path(file).is_file():
            return from_path(Path(file))
    if paths.capath is not None and any(_files(Path(paths.capath))):
        return from_path(Path(paths.capath))
    raise ValueError(
        "this system has no bundle of trust anchors. Install ca-certificates, or name files instead"
    )


def from_path(path: Path) -> list[Certificate]:
    """Certificates of a file (PEM or DER), or of all files of a folder that hold some. Raises OSError; ValueError:
    no certificate, a damaged one, or too much."""
    if not path.is_dir():
        return _from_file(path)
    found: list[Certificate] = []
    for count, file in enumerate(_files(path)):
        if count >= MAX_FILES:
            raise ValueError(f"has more than {MAX_FILES} files: not a trust store")
        try:
            found += _from_file(file)
        except FileNotFoundError:
            continue  # a link that leads nowhere
        except ValueError as error:
            if file.suffix in (".pem", ".crt", ".cer", ".der"):
                raise ValueError(f"{file.name}: {error}") from error
    if not found:
        raise ValueError("holds no certificate")
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (each for each in sorted(folder.iterdir()) if each.is_symlink() or each.is_file())


def _from_file(path: Path) -> list[Certificate]:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES >> 20} MiB: not a trust store")
    if data[:1] == b"\x30":  # SEQUENCE: DER
        certificate = read(data)
        ders = [] if certificate.subject_der is None else [data]
    else:
        ders = []
        for block in blocks(data):
            if block.is_certificate and block.problem is not None:
                raise ValueError(block.problem)
            if block.is_certificate:
                ders.append(block.data)
    if not ders:
        raise ValueError("holds no certificate in PEM or DER")
    found = [read(der) for der in ders]
    for certificate in found:
        if certificate.subject_der is None:
            raise ValueError(f"holds a certificate whose subject cannot be read ({certificate.problems[0]})")
    return found
