"""Who may issue by CAA records (RFC 8659, RFC 8657), and which CA answers to which names in them, by what its certificates say
of their issuer.

Each CA says so in its Certification Practice Statement (section 4.2.1, RFC 8659, 4.2). Not all that there are: those that most
certificates come from. The config adds others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

#: Pattern over the issuer's whole name → names in `issue` and `issuewild`.
IDENTITIES: Mapping[str, tuple[str, ...]] = {
    "*O=Let's Encrypt*": ("letsencrypt.org",),
    "*O=Internet Security Research Group*": ("letsencrypt.org",),
    "*O=Google Trust Services*": ("pki.goog",),
    "*O=Amazon*": ("amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"),
    "*O=DigiCert*": ("digicert.com", "www.digicert.com", "digicert.ne.jp", "cybertrust.ne.jp", "symantec.com",
                     "thawte.com", "geotrust.com", "rapidssl.com", "quovadisglobal.com"),
    "*O=Sectigo*": ("sectigo.com", "comodo.com", "comodoca.com", "usertrust.com", "trust-provider.com"),
    "*O=COMODO*": ("sectigo.com", "comodo.com", "comodoca.com", "usertrust.com", "trust-provider.com"),
    "*O=ZeroSSL*": ("sectigo.com", "comodoca.com", "usertrust.com", "trust-provider.com"),
    "*O=GlobalSign*": ("globalsign.com",),
    "*O=GoDaddy*": ("godaddy.com", "starfieldtech.com"),
    "*O=Starfield*": ("starfieldtech.com", "godaddy.com"),
    "*O=Entrust*": ("entrust.net", "affirmtrust.com"),
    "*O=IdenTrust*": ("identrust.com",),
    "*O=SSL Corp*": ("ssl.com",),
    "*O=Buypass*": ("buypass.com", "buypass.no"),
    "*O=Actalis*": ("actalis.it",),
    "*O=Hellenic Academic*": ("harica.gr",),
    "*O=Asseco*": ("certum.pl", "certum.eu"),
    "*O=Unizeto*": ("certum.pl", "certum.eu"),
    "*O=SwissSign*": ("swisssign.com", "swisssign.net"),
    "*O=Microsoft Corporation*": ("microsoft.com", "d-trust.net"),
    "*O=Apple Inc.*": ("pki.apple.com",),
    "*O=D-Trust*": ("d-trust.net", "dtrust.de"),
    "*O=Telia*": ("telia.com", "telia.fi"),
}  # fmt: skip


def identities_of(issuer: str, more: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Empty: not known. What the config says goes before."""
    for table in (more, IDENTITIES):
        for pattern, names in table.items():
            if fnmatchcase(issuer, pattern):
                return tuple(each.lower() for each in names)
    return ()


#: open: no record says who may. allowed: this CA may. bound: it may, for accounts that are named. forbidden: it may not.
Standing = Literal["open", "allowed", "bound", "forbidden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What the records that hold for one name say of one CA."""

    standing: Standing
    #: Accounts (`accounturi`, RFC 8657) to which it is bound; empty unless `bound`.
    accounts: frozenset[str] = frozenset()
    #: Who may, as the records name them; of `forbidden` may be empty: nobody.
    allowed: tuple[str, ...] = ()


def permission(
    records: Sequence[tuple[str, str]], identities: Sequence[str], *, is_wildcard: bool
) -> Permission:
    """`records`: tag in lower case, and value, of those that hold for the name (RFC 8659, 3). `identities`: what this CA answers to."""
    wild = [value for tag, value in records if tag == "issuewild"]
    values = wild if is_wildcard and wild else [value for tag, value in records if tag == "issue"]
    if not values:
        return Permission(standing="open")
    parsed = [_issuer(each) for each in values]
    allowed = tuple(sorted({issuer for issuer, _ in parsed if issuer}))
    ours = [account for issuer, account in parsed if issuer in identities]
    if not ours:
        return Permission(standing="forbidden", allowed=allowed)
    accounts = frozenset(each for each in ours if each is not None)
    if None in ours:
        return Permission(standing="allowed", allowed=allowed)
    return Permission(standing="bound", accounts=accounts, allowed=allowed)


def _issuer(value: str) -> tuple[str, str | None]:
    """Whom an `issue` or `issuewild` names, and the account to which it is bound. RFC 8657, 3: with several `accounturi` nobody
    may; which account that leaves is none."""
    domain, *parameters = value.split(";")
    accounts = [
        text.strip()
        for each in parameters
        for tag, is_there, text in [each.strip().partition("=")]
        if is_there and tag.strip().lower() == "accounturi"
    ]
    return domain.strip().lower().rstrip("."), None if not accounts else accounts[0] if len(
        accounts
    ) == 1 else ""
