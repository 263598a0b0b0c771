"""What is asked of the CA: an `Order`, made of a CSR (every field of it checked) or of options."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

from certwatch.ca.failure import CAError
from certwatch.ca.names import checked, name_of
from certwatch.ca.profiles import Profile
from certwatch.ca.signer import PublicKey
from certwatch.model.shown import shown
from certwatch.x509.pem import blocks

MAX_CSR_BYTES = 64 * 1024
MAX_ATTRIBUTE = 64
#: How it came: the command line, the CA for itself, a reissue, the registration authority's HTTP, ACME.
Channel = Literal["cli", "ca", "remediation", "http", "acme"]
#: Of this machine: what a profile without names gives to anybody here.
LOCAL: frozenset[Channel] = frozenset({"cli", "ca", "remediation"})

_SHORT = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
}
_COUNTRY = re.compile(r"[A-Za-z]{2}")
#: PKCS #9 (RFC 2985, 5.4.2).
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
_LONG = {short: oid for oid, short in _SHORT.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    profile: str
    #: DER of the SubjectPublicKeyInfo.
    public_key: bytes
    #: Normal, with their kinds.
    names: tuple[str, ...]
    #: (CN, O, …) and text, in order.
    subject: tuple[tuple[str, str], ...] = ()
    #: None: the profile's.
    lifetime_seconds: int | None = None
    #: For whom, and who asked.
    requester: str
    submitter: str
    channel: Channel = "cli"
    #: Name of the issuer. None: the newest in use.
    issuer: str | None = None
    #: Serial number (hex) of the certificate it is to take the place of (RFC 9773, 5).
    replaces: str | None = None
    #: Who else asks by it, under other names: those of the certificate that it came with, who granted the enrolment token, who
    #: made the ACME account's binding. None of them approves it.
    behind: tuple[str, ...] = ()

    @property
    def askers(self) -> tuple[str, ...]:
        return (self.requester, self.submitter, *self.behind)

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def is_local(self) -> bool:
        return self.channel in LOCAL

    @property
    def lifetime(self) -> timedelta | None:
        return None if self.lifetime_seconds is None else timedelta(seconds=self.lifetime_seconds)


def decoded(data: bytes) -> Order:
    """Raises CAError "ledger"."""
    try:
        return msgspec.json.decode(data, type=Order)
    except msgspec.MsgspecError as error:
        raise CAError("ledger", f"a request as it is stored cannot be read: {error}") from error


def _refuse(why: str) -> CAError:
    return CAError("refused", f"CSR: {why}")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Fields are parsed when they are asked for, and each may be anything."""
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion,
            x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UserWarning) as error:  # fmt: skip
        raise _refuse(f"{what}cannot be read: {shown(str(error))[:200]}") from error


def load_csr(data: bytes) -> x509.CertificateSigningRequest:
    """PEM or DER, its signature verified: whoever made it has the key. Raises CAError "refused"."""
    if len(data) > MAX_CSR_BYTES:
        raise _refuse(f"larger than {MAX_CSR_BYTES} bytes")
    if b"-----BEGIN" in data:
        found = [
            each for each in blocks(data) if each.label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
        ]
        if len(found) != 1 or not found[0].data:
            raise _refuse("not one whole CERTIFICATE REQUEST block")
        data = found[0].data
    with _reading(""):
        csr = x509.load_der_x509_csr(data)
        valid = csr.is_signature_valid
    if not valid:
        raise _refuse("its signature does not verify: who made it does not have the key")
    if csr.signature_hash_algorithm is not None and csr.signature_hash_algorithm.name in ("sha1", "md5"):
        raise _refuse(f"signed with {csr.signature_hash_algorithm.name}. Sign it with sha256")
    return csr


def public_bytes(key: Any) -> bytes:
    return cast(
        "bytes",
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def load_public(spki: bytes) -> PublicKey:
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CAError("refused", f"the public key cannot be read: {shown(str(error))[:200]}") from error
    if not isinstance(key, PublicKey):
        raise CAError("refused", f"keys of this kind are not taken ({type(key).__name__})")
    return key


#: By the library's classes.
_KINDS = {
    "Ed25519PublicKey": "ed25519",
    "MLDSA44PublicKey": "ml-dsa-44",
    "MLDSA65PublicKey": "ml-dsa-65",
    "MLDSA87PublicKey": "ml-dsa-87",
}


def check_key(key: PublicKey, profile: Profile) -> None:
    """Raises CAError "refused"."""
    if isinstance(key, rsa.RSAPublicKey):
        kind, numbers = "rsa", key.public_numbers()
        if not 2048 <= key.key_size <= 4096:
            raise _refuse(f"an RSA key of {key.key_size} bits: 2048 to 4096 are taken")
        if numbers.e < 65537 or numbers.e % 2 == 0 or numbers.e.bit_length() > 64:
            raise _refuse("an RSA key with an odd choice of exponent: 65537 is taken")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind = {"secp256r1": "ec-p256", "secp384r1": "ec-p384", "secp521r1": "ec-p521"}.get(
            key.curve.name, key.curve.name
        )
    else:
        kind = _KINDS[type(key).__name__]
    if kind not in profile.key_types:
        raise _refuse(f"a key of kind {kind}: profile {profile.name} takes {', '.join(profile.key_types)}")


def subject_of(name: x509.Name) -> tuple[tuple[str, str], ...]:
    found = []
    for rdn in name.rdns:
        attributes = list(rdn)
        if len(attributes) != 1:
            raise _refuse("a subject with several attributes in one place")
        attribute = attributes[0]
        short, value = _SHORT.get(attribute.oid), attribute.value
        if short is None or not isinstance(value, str):
            raise _refuse(
                f"the subject has {attribute.oid.dotted_string}, which is not put into certificates"
            )
        if not value or len(value) > MAX_ATTRIBUTE or not value.isprintable():
            raise _refuse(f"the subject's {short} is empty, longer than {MAX_ATTRIBUTE} or not printable")
        if short == "C" and _COUNTRY.fullmatch(value) is None:
            raise _refuse("the subject's C is not a country's two letters")
        found.append((short, value))
    return tuple(found)


def name_from(subject: tuple[tuple[str, str], ...]) -> x509.Name:
    return x509.Name([x509.NameAttribute(_LONG[short], value) for short, value in subject])


def order_of(
    csr: x509.CertificateSigningRequest,
    profile: Profile,
    *,
    requester: str,
    submitter: str,
    channel: Channel = "cli",
    names: tuple[str, ...] = (),
    lifetime: timedelta | None = None,
    issuer: str | None = None,
    replaces: str | None = None,
) -> Order:
    """Nothing of the CSR is dropped: what does not go into the certificate is refused. Raises CAError "refused"."""
    with _reading("its subject "):
        name = csr.subject
    with _reading("its attributes "):
        attributes = [each.oid for each in csr.attributes]
    for oid in attributes:
        if oid not in (AttributeOID.UNSTRUCTURED_NAME, _EXTENSION_REQUEST):
            raise _refuse(f"the attribute {oid.dotted_string} means nothing here. Leave it out")
    if attributes.count(_EXTENSION_REQUEST) > 1:
        # Readers take one of them: what the other asks for would be dropped.
        raise _refuse("asks for extensions in two attributes. Put all of them into one")
    asked = _extensions(csr, profile)
    return Order(
        profile=profile.name,
        public_key=public_bytes(csr.public_key()),
        names=checked([*asked, *names]),
        subject=subject_of(name),
        lifetime_seconds=None if lifetime is None else int(lifetime.total_seconds()),
        requester=requester,
        submitter=submitter,
        channel=channel,
        issuer=issuer,
        replaces=replaces,
    )


def _extensions(csr: x509.CertificateSigningRequest, profile: Profile) -> list[str]:
    """The names that it asks for; everything else that it asks for must be what the profile gives anyhow."""
    with _reading("its extensions "):
        extensions = list(csr.extensions)
    names: list[str] = []
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            names += [name_of(each) for each in value]
        elif isinstance(value, x509.BasicConstraints):
            if value.ca != profile.is_ca or (
                value.path_length is not None and value.path_length != profile.path_length
            ):
                raise _refuse(f"asks for basic constraints that profile {profile.name} does not give")
        elif isinstance(value, x509.ExtendedKeyUsage):
            beyond = [each for each in value if each not in profile.eku]
            if beyond:
                raise _refuse(
                    f"asks for the usage {_usage(beyond[0])}, which profile {profile.name} does not give"
                )
        elif isinstance(value, x509.KeyUsage):
            _check_key_usage(value, profile)
        elif isinstance(value, x509.TLSFeature):
            if not profile.must_staple:
                raise _refuse(f"asks for must-staple, which profile {profile.name} does not give")
        elif isinstance(value, x509.SubjectKeyIdentifier):
            continue  # it is computed from the key
        else:
            raise _refuse(
                f"asks for the extension {extension.oid.dotted_string}, which profile {profile.name} does not give"
            )
    return names


def _usage(oid: x509.ObjectIdentifier) -> str:
    return (
        getattr(oid, "_name", oid.dotted_string)
        if oid in vars(ExtendedKeyUsageOID).values()
        else oid.dotted_string
    )


def _check_key_usage(value: x509.KeyUsage, profile: Profile) -> None:
    given = (
        {"key_cert_sign", "crl_sign", "digital_signature"}
        if profile.is_ca
        else {"digital_signature", "key_encipherment", "key_agreement"}
    )
    for bit in (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign",
    ):  # fmt: skip
        if getattr(value, bit) and bit not in given:
            raise _refuse(f"asks for the key usage {bit}, which profile {profile.name} does not give")
