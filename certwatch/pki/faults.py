"""Why a chain is not accepted, as a closed list: what OpenSSL's codes mean to an operator."""

from typing import Literal

FaultKind = Literal[
    "issuer-missing",
    "untrusted-root",
    "self-signed",
    "signature",
    "expired",
    "not-yet-valid",
    "not-a-ca",
    "path-length",
    "name-constraint",
    "purpose",
    "key-usage",
    "policy",
    "critical-extension",
    "weak-key",
    "weak-signature",
    "revoked",
    "revocation-unknown",
    "name",
    "malformed",
    "profile",
    "other",
]

#: X509_V_ERR_* (openssl/x509_vfy.h, stable since 1.0) to kind, and the sentence that follows the certificate's name.
OPENSSL: dict[int, tuple[FaultKind, str]] = {
    0: ("malformed", "cannot be read by OpenSSL"),
    2: ("issuer-missing", "is issued by a certificate that is not there"),
    4: ("signature", "has a signature that cannot be decoded"),
    6: ("malformed", "has a public key that cannot be read"),
    7: ("signature", "was not signed by the certificate above it, or its signature cannot be verified"),
    9: ("not-yet-valid", "is not valid yet"),
    10: ("expired", "has expired"),
    13: ("malformed", "has a beginning of validity that cannot be read"),
    14: ("malformed", "has an end of validity that cannot be read"),
    18: ("self-signed", "is self-signed and no trust anchor"),
    19: ("untrusted-root", "is a root that is not in the trust store"),
    20: ("issuer-missing", "is issued by a certificate that is neither presented nor in the trust store"),
    21: ("issuer-missing", "stands alone, and its issuer is not in the trust store"),
    22: ("path-length", "has too long a chain above it"),
    24: ("not-a-ca", "is no CA certificate, and yet stands above another"),
    25: ("path-length", "allows fewer CAs below itself than there are"),
    26: ("purpose", "is not for this purpose by its extended key usage"),
    27: ("purpose", "is trusted, but not for this purpose"),
    28: ("purpose", "is trusted for other purposes and rejected for this one"),
    30: ("signature", "names another key of its issuer than the one above it has"),
    32: ("key-usage", "may not sign certificates by its key usage"),
    34: ("critical-extension", "has a critical extension that is not understood"),
    37: ("purpose", "names no usage that is wanted"),
    39: ("key-usage", "may not make digital signatures by its key usage"),
    41: ("malformed", "has an extension that cannot be read or contradicts another"),
    42: ("policy", "has a policy extension that cannot be read"),
    43: ("policy", "has no policy that is accepted"),
    47: ("name-constraint", "has a name that a CA above it does not permit"),
    48: ("name-constraint", "has a name that a CA above it excludes"),
    49: ("name-constraint", "has name constraints with a minimum or maximum, which nobody supports"),
    51: ("name-constraint", "has name constraints of a kind that is not supported"),
    52: ("name-constraint", "has name constraints that cannot be read"),
    53: ("name-constraint", "has a name in a form that the constraints above it cannot be held against"),
    66: ("weak-key", "has too small a key"),
    67: ("weak-key", "is a CA with too small a key"),
    68: ("weak-signature", "is signed with too weak a digest"),
    79: ("not-a-ca", "is no valid CA certificate"),
}


def of_openssl(code: int) -> tuple[FaultKind, str]:
    return OPENSSL.get(code, ("profile" if code >= 76 else "other", "is refused by OpenSSL"))
