"""What EJBCA says of a certificate's state, in its tables as in its REST API."""

_REVOKED = 40
_ARCHIVED = 60
#: What revocationReason says of a certificate that is not revoked, or is so no more.
_NOT_REVOKED = (-1, 8)


def is_revoked(status: object, reason: object) -> bool:
    """By CertificateConstants and RevocationReasons. A hold is a revocation."""
    return status in (_REVOKED, _ARCHIVED) and reason not in _NOT_REVOKED
