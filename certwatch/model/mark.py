"""What people say of certificates and keys, and certwatch cannot know: that a key is compromised, that a certificate is
retired, or is expected."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType

from certwatch.model.certificate import Certificate

MarkID = NewType("MarkID", int)
#: compromised: somebody else may have the key, so it is for every certificate of that key; a CA's, for everything that it
#: has issued. retired: this certificate is to be served nowhere any more.
#: authorised: this certificate, and its precertificate, are expected in CT logs; authorised-key: every one of that key is.
MarkKind = Literal["compromised", "retired", "authorised", "authorised-key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Stays until somebody takes it back: what is seen again is still marked."""

    id: MarkID
    kind: MarkKind
    certificate: Certificate
    author: str
    reason: str
    created_at: datetime
    #: When it was taken back. None: it holds.
    ended_at: datetime | None = None


class Marks:
    """Those that hold, found by what they are about. Values only; never changed once made."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        """Of several about one thing the first in order of number counts."""
        self._keys: dict[bytes, Mark] = {}
        self._retired: dict[bytes, Mark] = {}
        self._authorities: dict[bytes, list[Mark]] = {}
        self._authorised: dict[bytes, Mark] = {}
        for each in sorted(marks, key=lambda it: it.id):
            if each.ended_at is not None:
                continue
            certificate = each.certificate
            if each.kind == "retired":
                self._retired.setdefault(certificate.fingerprint_sha256, each)
            elif each.kind == "authorised":
                self._authorised.setdefault(certificate.tbs_sha256 or certificate.fingerprint_sha256, each)
            elif each.kind == "authorised-key":
                if certificate.spki_sha256 is not None:
                    self._authorised.setdefault(certificate.spki_sha256, each)
            elif certificate.spki_sha256 is not None:
                self._keys.setdefault(certificate.spki_sha256, each)
                if certificate.is_ca and certificate.subject_der is not None:
                    self._authorities.setdefault(certificate.subject_der, []).append(each)

    def __bool__(self) -> bool:
        return bool(self._keys or self._retired or self._authorised)

    def compromised(self, certificate: Certificate) -> Mark | None:
        """Its key is."""
        return None if certificate.spki_sha256 is None else self._keys.get(certificate.spki_sha256)

    def retired(self, certificate: Certificate) -> Mark | None:
        return self._retired.get(certificate.fingerprint_sha256)

    def authorised(self, certificate: Certificate) -> Mark | None:
        """It, its precertificate, or its key is."""
        for each in (certificate.tbs_sha256, certificate.fingerprint_sha256, certificate.spki_sha256):
            if each is not None and each in self._authorised:
                return self._authorised[each]
        return None

    def issuers_of(self, certificate: Certificate) -> Iterable[Mark]:
        """Compromised CAs of its issuer's name; whether one has signed it is not said."""
        return self._authorities.get(certificate.issuer_der or b"", ())
