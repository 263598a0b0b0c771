"""What kinds of certificates there are: the built-in profiles, and the config's over them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwatch.ca.failure import CAError
from certwatch.config.ca import NameKeys, ProfileKeys, Usage

EKU: Mapping[Usage, tuple[x509.ObjectIdentifier, ...]] = {
    "server": (ExtendedKeyUsageOID.SERVER_AUTH,),
    "client": (ExtendedKeyUsageOID.CLIENT_AUTH,),
    "mtls": (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    "code-signing": (ExtendedKeyUsageOID.CODE_SIGNING,),
    "email": (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
    "ocsp": (ExtendedKeyUsageOID.OCSP_SIGNING,),
    "intermediate": (),
}
#: Kinds of names that a certificate of this usage may have.
_NAMES: Mapping[Usage, tuple[str, ...]] = {
    "server": ("dns", "ip"),
    "client": ("dns", "email", "uri"),
    "mtls": ("dns", "ip", "uri"),
    "code-signing": (),
    "email": ("email",),
    "ocsp": (),
    "intermediate": (),
}

#: No config raises these.
LONGEST = timedelta(days=825)
LONGEST_OF_A_CA = timedelta(days=25 * 365)
MOST_NAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    name: str
    usage: Usage
    lifetime: timedelta = timedelta(days=90)
    longest: timedelta = timedelta(days=398)
    backdate: timedelta = timedelta(hours=1)
    key_types: tuple[str, ...] = ("ec-p256", "ec-p384", "ec-p521", "rsa", "ed25519")
    #: Empty: every name, for people on this machine alone.
    names: tuple[NameKeys, ...] = ()
    subject: tuple[str, ...] = ()
    approvals: int = 0
    #: Of the intermediates that make it. Empty: those without one.
    environment: str = ""
    policies: tuple[str, ...] = ()
    must_staple: bool = False
    path_length: int | None = None
    permitted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def is_ca(self) -> bool:
        return self.usage == "intermediate"

    @property
    def eku(self) -> tuple[x509.ObjectIdentifier, ...]:
        return EKU[self.usage]

    @property
    def kinds(self) -> tuple[str, ...]:
        return _NAMES[self.usage]


_YEAR = timedelta(days=365)
OF_ISSUERS = ("ec-p256", "ec-p384", "ec-p521", "rsa", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")
BUILT_IN: Mapping[str, Profile] = {
    each.name: each
    for each in (
        Profile(name="server", usage="server"),
        Profile(name="client", usage="client"),
        Profile(name="mtls", usage="mtls", lifetime=timedelta(days=7), longest=timedelta(days=90)),
        Profile(
            name="code-signing",
            usage="code-signing",
            lifetime=_YEAR,
            longest=timedelta(days=460),
            subject=("O", "OU", "C", "L", "ST"),
            approvals=1,
        ),
        Profile(
            name="email", usage="email", lifetime=_YEAR, longest=LONGEST, subject=("O", "OU", "C", "L", "ST")
        ),
        Profile(name="ocsp", usage="ocsp", lifetime=timedelta(days=14), longest=timedelta(days=30)),
        Profile(
            name="intermediate",
            usage="intermediate",
            lifetime=5 * _YEAR,
            longest=10 * _YEAR,
            path_length=0,
            key_types=OF_ISSUERS,
            subject=("O", "OU", "C", "L", "ST"),
        ),
        # Of another CA's root, which has intermediates below it.
        Profile(
            name="cross",
            usage="intermediate",
            lifetime=5 * _YEAR,
            longest=10 * _YEAR,
            path_length=1,
            key_types=OF_ISSUERS,
            subject=("O", "OU", "C", "L", "ST"),
        ),
    )
}


#: What the CA makes for itself; no config changes these, and nobody else is given them.
INTERNAL: Mapping[str, Profile] = {
    each.name: each
    for each in (
        Profile(name="listener", usage="server", lifetime=timedelta(days=7), longest=timedelta(days=7)),
        Profile(name="ocsp-responder", usage="ocsp", lifetime=timedelta(days=14), longest=timedelta(days=14)),
    )
}


def profiles_of(configured: Mapping[str, ProfileKeys]) -> dict[str, Profile]:
    """The built-in ones and the config's. Raises CAError "usage"."""
    found = dict(BUILT_IN)
    for name, keys in configured.items():
        if name not in BUILT_IN and keys.usage is None:
            raise CAError("usage", f"ca: profiles: {name}: says no usage: one of {', '.join(EKU)}")
        base = BUILT_IN.get(name) if keys.usage is None else BUILT_IN[keys.usage]
        assert base is not None  # noqa: S101 - said above
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in ((field, getattr(keys, field)) for field in ProfileKeys.model_fields)
            if value is not None and key != "usage"
        }
        if "lifetime" in given and "longest" not in given:
            given["longest"] = max(given["lifetime"], min(base.longest, given["lifetime"] * 4))
        profile = replace(base, name=name, **given)
        cap = LONGEST_OF_A_CA if profile.is_ca else LONGEST
        if profile.lifetime > profile.longest or profile.longest > cap:
            raise CAError(
                "usage",
                f"ca: profiles: {name}: lifetime {profile.lifetime.days} d, longest {profile.longest.days} d:"
                f" the first must not exceed the second, nor that {cap.days} d",
            )
        found[name] = profile
    return found


def profile_named(profiles: Mapping[str, Profile], name: str) -> Profile:
    if name not in profiles:
        raise CAError("usage", f'no profile is called "{name}" (known: {", ".join(sorted(profiles))})')
    return profiles[name]
