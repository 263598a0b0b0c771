"""From an order and a profile to the certificate that would be made: every field decided here, nowhere else."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certwatch.ca.failure import CAError
from certwatch.ca.names import check_constraints, general_name
from certwatch.ca.profiles import EKU, Profile
from certwatch.ca.request import Order, check_key, load_public, name_from
from certwatch.config.ca import Usage
from certwatch.model.shown import shown

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    id: int
    name: str
    #: "root" or "intermediate".
    kind: str
    #: Where its key is.
    key: str
    certificate: x509.Certificate
    #: PEM of what is above it, without the root.
    chain: bytes
    #: Of an intermediate: what it is for ("production"). Empty: for every profile that names none.
    environment: str = ""
    retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where relying parties fetch from. `url` empty: certificates name nothing."""

    url: str
    partitions: int
    #: Certificates of one CRL, where partitions are not given: the next ones go to a new one.
    most_in_partition: int = 100_000
    #: Certificates name the OCSP responder.
    has_responder: bool = False

    def crl(self, issuer: int, shard: int) -> str:
        return f"{self.url}/crl/{issuer}/{shard}.crl"

    def delta(self, issuer: int, shard: int) -> str:
        return f"{self.url}/crl/{issuer}/{shard}-delta.crl"

    def ocsp(self, issuer: int) -> str:
        return f"{self.url}/ocsp/{issuer}"

    def issuer(self, issuer: int) -> str:
        return f"{self.url}/issuer/{issuer}.cer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A certificate but for its signature."""

    builder: x509.CertificateBuilder
    serial: int
    shard: int
    not_before: datetime
    not_after: datetime


def new_serial() -> int:
    """128 random bits, positive (RFC 5280, 4.1.2.2: at most 20 octets)."""
    return secrets.randbits(128) or 1


def validity(
    profile: Profile, asked: timedelta | None, issuer: x509.Certificate, now: datetime
) -> tuple[datetime, datetime]:
    """Raises CAError "refused". Without a wish, an issuer that ends earlier makes it shorter."""
    begin = (now - profile.backdate).replace(microsecond=0)
    begin = max(begin, issuer.not_valid_before_utc)
    lifetime = asked if asked is not None else profile.lifetime
    if lifetime > profile.longest:
        raise CAError(
            "refused", f"a lifetime of {lifetime}: profile {profile.name} gives at most {profile.longest}"
        )
    if lifetime < timedelta(minutes=5):
        raise CAError("refused", f"a lifetime of {lifetime}: at least five minutes")
    # Both ends count (RFC 5280, 4.1.2.5).
    end = (now + lifetime).replace(microsecond=0) - SECOND
    last = issuer.not_valid_after_utc
    if end > last:
        if asked is not None or last <= now + timedelta(minutes=5):
            raise CAError(
                "refused", f"the issuer's own certificate ends {last:%Y-%m-%d %H:%MZ}, before this one would"
            )
        end = last
    return begin, end


def _subject(order: Order, profile: Profile) -> x509.Name:
    attributes = list(order.subject)
    common = [value for short, value in attributes if short == "CN"]
    for short, _ in attributes:
        if short != "CN" and short not in profile.subject:
            raise CAError("refused", f"the subject has {short}, which profile {profile.name} does not take")
    if len(common) > 1:
        raise CAError("refused", "the subject has two common names")
    if common and profile.kinds and not order.is_local and not profile.approvals:
        # Nobody looks at it before it is signed, and whoever goes by it takes it for a name that was allowed.
        if common[0].lower() not in {each.partition(":")[2].lower() for each in order.names}:
            raise CAError(
                "refused",
                f"the common name {shown(common[0])} is not among the names that are asked for. Leave it out, or have people"
                f" approve such requests (profile {profile.name}: approvals)",
            )
    if profile.usage in ("server", "mtls"):
        values = {each.partition(":")[2] for each in order.names}
        if common and common[0].lower() not in values:
            raise CAError("refused", f"the common name {common[0]} is not among the names that are asked for")
        if not order.names:
            raise CAError("refused", f"no name is asked for, and profile {profile.name} needs one")
        if not common:
            first = next(
                (each[4:] for each in order.names if each.startswith("dns:") and len(each) <= 68), None
            )
            if first is not None:
                attributes.append(("CN", first))
    elif not common:
        if not order.names:
            raise CAError("refused", "neither a common name nor another one is asked for")
        attributes.append(("CN", order.names[0].partition(":")[2][:64]))
    return name_from(tuple(attributes))


def _key_usage(*, is_ca: bool, encipher: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _constraint(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_network(text))
    except ValueError:
        kind, colon, value = text.partition(":")
        if colon and kind == "email":
            return x509.RFC822Name(value)
        if colon and kind == "uri":
            return x509.UniformResourceIdentifier(value)
        return x509.DNSName(text.removeprefix("dns:"))


def draft(
    order: Order,
    profile: Profile,
    issuer: Issuer,
    addresses: Addresses,
    now: datetime,
    *,
    partition: Callable[[Issuer, int], int],
) -> Draft:
    """`partition` says which CRL a serial number belongs to. Raises CAError "refused"."""
    above = issuer.certificate
    key = load_public(order.public_key)
    check_key(key, profile)
    check_constraints(order.names, above)
    _check_path(profile, above)
    begin, end = validity(profile, order.lifetime, above, now)
    subject = _subject(order, profile)
    serial = new_serial()
    shard = partition(issuer, serial)
    # All at once: the builder's own methods make a copy of it each.
    builder = x509.CertificateBuilder(
        issuer_name=above.subject,
        subject_name=subject,
        public_key=key,
        serial_number=serial,
        not_valid_before=begin.replace(tzinfo=None),
        not_valid_after=end.replace(tzinfo=None),
        extensions=_extensions(order, profile, issuer, addresses, key, subject, shard),
    )
    return Draft(builder=builder, serial=serial, shard=shard, not_before=begin, not_after=end)


@lru_cache(64)
def _constraints_of(above: x509.Certificate) -> x509.BasicConstraints:
    return above.extensions.get_extension_for_class(x509.BasicConstraints).value


def _check_path(profile: Profile, above: x509.Certificate) -> None:
    constraints = _constraints_of(above)
    if not constraints.ca:
        raise CAError("refused", "the issuer's certificate is no CA's")
    if (
        profile.is_ca
        and constraints.path_length is not None
        and constraints.path_length <= (profile.path_length or 0)
    ):
        raise CAError(
            "refused",
            f"the issuer's path length is {constraints.path_length}: a CA below it with {profile.path_length} would be refused by clients",
        )


def _extensions(
    order: Order,
    profile: Profile,
    issuer: Issuer,
    addresses: Addresses,
    key: Any,
    subject: x509.Name,
    shard: int,
) -> list[x509.Extension[x509.ExtensionType]]:
    first, then = _fixed(
        profile.usage,
        profile.path_length,
        profile.policies,
        profile.must_staple,
        profile.permitted,
        profile.excluded,
        isinstance(key, rsa.RSAPublicKey),
        issuer.certificate,
        issuer.id,
        addresses,
        shard,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    found = [*first, x509.Extension(identifier.oid, False, identifier)]
    if order.names:
        has_name = bool(subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        names = x509.SubjectAlternativeName([general_name(each) for each in order.names])
        found.append(x509.Extension(names.oid, not has_name, names))
    return [*found, *then]


_Extensions = tuple[x509.Extension[x509.ExtensionType], ...]


@lru_cache(256)
def _fixed(
    usage: Usage,
    path_length: int | None,
    policies: tuple[str, ...],
    must_staple: bool,
    permitted: tuple[str, ...],
    excluded: tuple[str, ...],
    is_rsa: bool,
    above: x509.Certificate,
    issuer: int,
    addresses: Addresses,
    shard: int,
) -> tuple[_Extensions, _Extensions]:
    """What all certificates of a profile by one issuer have, encoded once: before the key's identifier, and after the names."""
    is_ca = usage == "intermediate"
    first: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=is_ca, path_length=path_length if is_ca else None), True),
        (_key_usage(is_ca=is_ca, encipher=is_rsa and usage in ("server", "mtls", "email")), True),
        (authority_key(above), False),
    ]
    if EKU[usage]:
        first.append((x509.ExtendedKeyUsage(EKU[usage]), False))
    found: list[tuple[x509.ExtensionType, bool]] = []
    if usage == "ocsp":
        # Its own revocation is not asked for: it lives for days (RFC 6960, 4.2.2.2.1).
        found.append((x509.OCSPNoCheck(), False))
    elif addresses.url:
        found += _pointers(issuer, addresses, shard)
    if policies:
        found.append(
            (
                x509.CertificatePolicies(
                    [x509.PolicyInformation(x509.ObjectIdentifier(each), None) for each in policies]
                ),
                False,
            )
        )
    if must_staple:
        found.append((x509.TLSFeature([x509.TLSFeatureType.status_request]), False))
    if is_ca and (permitted or excluded):
        found.append(
            (
                x509.NameConstraints(
                    [_constraint(each) for each in permitted] or None,
                    [_constraint(each) for each in excluded] or None,
                ),
                True,
            )
        )
    return _encoded(first), _encoded(found)


def _encoded(extensions: list[tuple[x509.ExtensionType, bool]]) -> _Extensions:
    return tuple(
        x509.Extension(each.oid, critical, x509.UnrecognizedExtension(each.oid, each.public_bytes()))
        for each, critical in extensions
    )


def _pointers(issuer: int, addresses: Addresses, shard: int) -> list[tuple[x509.ExtensionType, bool]]:
    def at(url: str) -> x509.UniformResourceIdentifier:
        return x509.UniformResourceIdentifier(url)

    access = [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, at(addresses.issuer(issuer)))]
    if addresses.has_responder:
        access.insert(
            0, x509.AccessDescription(AuthorityInformationAccessOID.OCSP, at(addresses.ocsp(issuer)))
        )
    return [
        (x509.AuthorityInformationAccess(access), False),
        (
            x509.CRLDistributionPoints(
                [x509.DistributionPoint([at(addresses.crl(issuer, shard))], None, None, None)]
            ),
            False,
        ),
    ]


@lru_cache(64)
def authority_key(above: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def root_draft(
    name: x509.Name, key: Any, lifetime: timedelta, path_length: int | None, now: datetime
) -> Draft:
    """A root, which signs itself."""
    begin = now.replace(microsecond=0) - timedelta(hours=1)
    end = now.replace(microsecond=0) + lifetime - SECOND
    serial = new_serial()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        .add_extension(identifier, False)
        # Needless by RFC 5280, 4.2.1.1, and harmless; clients in strict modes ask for it.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
    )
    return Draft(builder=builder, serial=serial, shard=0, not_before=begin, not_after=end)
