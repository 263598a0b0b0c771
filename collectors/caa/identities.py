"""Which CA answers to which names in CAA records, by what its certificates say of their issuer.

Each CA says so in its Certification Practice Statement (section 4.2.1, RFC 8659, 4.2). Not all that there are: those that most
certificates come from. The config adds others.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

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
