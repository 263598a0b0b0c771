"""What a plug-in's author tests with: a clock that is told the time, a throw-away CA, one call that collects.

Nothing here belongs in a running certwatch: the keys are made on the spot and worth nothing.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import Collector, CollectorContext

#: The instant at which tests begin.
EPOCH = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass
class FakeClock:
    """A `Clock` that stands until it is moved. Owned by the test."""

    now: datetime = EPOCH

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **kwargs: float) -> datetime:
        """As `timedelta` takes it: advance(hours=1). Negative jumps back."""
        self.now += timedelta(**kwargs)
        return self.now


@cache
def key(kind: str = "ec", number: int = 0) -> PrivateKey:
    """A private key, made once a process for each (kind, number). Kinds: "ec", "ec384", "rsa", "rsa1024",
    "ed25519"; the same number gives the same key."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "ec384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if kind == "rsa1024" else 2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with its key and what is above it."""

    certificate: x509.Certificate
    key: PrivateKey
    #: Issuer's certificate, and so on up; the root included. Empty: self-signed.
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """As a server presents it: leaf first, the root left out."""
        above = [issuer for issuer in self.issuers if issuer.subject != issuer.issuer]
        return (self.der, *(issuer.public_bytes(serialization.Encoding.DER) for issuer in above))

    @property
    def chain_pem(self) -> bytes:
        above = [issuer for issuer in self.issuers if issuer.subject != issuer.issuer]
        return self.pem + b"".join(issuer.public_bytes(serialization.Encoding.PEM) for issuer in above)


def _general_name(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(":")
    if kind == "dns":
        return x509.DNSName(value)
    if kind == "ip":
        return x509.IPAddress(ip_address(value))
    if kind == "email":
        return x509.RFC822Name(value)
    if kind == "uri":
        return x509.UniformResourceIdentifier(value)
    raise ValueError(f"name without kind: {name}")


def make_certificate(
    *,
    names: Sequence[str] = ("dns:www.example.com",),
    subject: str | None = None,
    issuer: Issued | None = None,
    not_before: datetime = EPOCH - timedelta(days=30),
    not_after: datetime = EPOCH + timedelta(days=60),
    key_kind: str = "ec",
    key_number: int = 1,
    is_ca: bool = False,
    path_length: int | None = None,
    serial_number: int | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    hash_algorithm: hashes.HashAlgorithm | None = None,
) -> Issued:
    """One valid certificate unless told otherwise. Without `issuer` it is self-signed. `subject` is a CN."""
    private = key(key_kind, key_number)
    common_name = subject if subject is not None else names[0].partition(":")[2] if names else "example"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    signer = issuer.key if issuer is not None else private
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer is not None else name)
        .public_key(private.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(cast("Any", signer.public_key())),
            critical=False,
        )
    )
    if names and not is_ca:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False
        )
    if is_ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hash_algorithm or hashes.SHA256()
    certificate = builder.sign(cast("Any", signer), cast("Any", digest))
    above = (issuer.certificate, *issuer.issuers) if issuer is not None else ()
    return Issued(certificate=certificate, key=private, issuers=above)


def make_ca(
    name: str = "Test Root", *, issuer: Issued | None = None, key_number: int = 100, **kwargs: Any
) -> Issued:
    """A root, or with `issuer` an intermediate. Give each CA a `key_number` of its own."""
    kwargs.setdefault("not_before", EPOCH - timedelta(days=365))
    kwargs.setdefault("not_after", EPOCH + timedelta(days=3650))
    return make_certificate(
        names=(), subject=name, issuer=issuer, is_ca=True, key_number=key_number, **kwargs
    )


async def collect(
    collector: type[Collector], config: dict[str, Any], *, name: str = "test", clock: FakeClock | None = None
) -> list[Observation | Incomplete]:
    """Validate the config, run the collector once, give everything it said."""
    plugin = collector(
        name, collector.Config.model_validate(config), CollectorContext(clock=clock or FakeClock())
    )
    async with aclosing(cast("AsyncGenerator[Observation | Incomplete, None]", plugin.collect())) as stream:
        return [each async for each in stream]
