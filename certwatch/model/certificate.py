"""A certificate, as far as it could be read (RFC 5280, 4.1)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NewType

#: SHA-256 of a certificate's DER, 32 bytes: its identity everywhere.
Fingerprint = NewType("Fingerprint", bytes)

#: A subject name with its kind in front, as printed: "dns:www.example.com", "ip:192.0.2.1", "email:…", "uri:…".
Name = NewType("Name", str)

KeyType = Literal["rsa", "ec", "ed25519", "ed448", "dsa", "x25519", "x448", "ml-dsa", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    type: KeyType
    #: Modulus or field size in bits. None: unreadable, or without meaning for the type.
    bits: int | None
    #: Named curve as in SEC 2 ("secp256r1"). None: not an EC key, or explicit parameters.
    curve: str | None = None
    #: RSA public exponent. None: not RSA, or unreadable.
    exponent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One X.509 certificate. Made by `certwatch.x509.der.read`, which never refuses: what it could not
    read is None or empty here and named in `problems`."""

    der: bytes
    fingerprint_sha256: Fingerprint
    #: SHA-256 of the SubjectPublicKeyInfo: the same for every certificate of one key. None: unreadable.
    spki_sha256: bytes | None
    #: SHA-256 of the TBSCertificate without SCT list and CT poison, so that a precertificate and its
    #: certificate agree (RFC 6962, 3.2). None: unreadable.
    tbs_sha256: bytes | None
    #: RFC 4514 string. Empty: an empty name, or unreadable (then in `problems`).
    subject: str
    issuer: str
    #: The names' DER, for comparing and finding issuers. None: unreadable.
    subject_der: bytes | None
    issuer_der: bytes | None
    #: None: unreadable.
    serial_number: int | None
    #: Start and end of validity, aware UTC, both inclusive. None: unreadable.
    not_before: datetime | None
    not_after: datetime | None
    #: The subject alternative names, in the certificate's order; without any, what the subject's CNs say.
    names: tuple[Name, ...]
    #: True if `names` came from the subject's CN because there is no subject alternative name.
    names_from_common_name: bool = False
    key: PublicKey
    #: As OpenSSL and RFC 5758 name it: "sha256WithRSAEncryption", "ecdsa-with-SHA256"; else the dotted OID.
    signature_algorithm: str
    is_ca: bool
    #: basicConstraints pathLenConstraint. None: absent.
    path_length: int | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    #: Key usages by RFC 5280 name ("digitalSignature", "keyCertSign"). None: extension absent.
    key_usage: frozenset[str] | None = None
    #: Extended key usages, by short name ("serverAuth", "clientAuth") or dotted OID. None: extension absent.
    extended_key_usage: tuple[str, ...] | None = None
    ocsp_urls: tuple[str, ...] = ()
    issuer_urls: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] = ()
    #: TLS feature status_request, "must staple" (RFC 7633).
    must_staple: bool = False
    #: What could not be read, each one sentence. Empty: everything could.
    problems: tuple[str, ...] = ()

    @property
    def is_self_issued(self) -> bool:
        return self.subject_der is not None and self.subject_der == self.issuer_der

    @property
    def lifetime(self) -> timedelta | None:
        """not_after - not_before. None: one of them is unreadable, or they contradict."""
        if self.not_before is None or self.not_after is None or self.not_after < self.not_before:
            return None
        return self.not_after - self.not_before

    @property
    def shown(self) -> str:
        """What people call it: its first name, else its subject, else the beginning of its fingerprint."""
        name = self.names[0].partition(":")[2] if self.names and not self.is_ca else self.subject
        return (name or f"sha256:{self.fingerprint_sha256.hex()[:16]}")[:100]

    @property
    def serial_hex(self) -> str:
        """Lower-case hex without sign or separators, whole bytes ("0a1f"). Empty: unreadable."""
        if self.serial_number is None:
            return ""
        digits = f"{abs(self.serial_number):x}"
        return ("-" if self.serial_number < 0 else "") + digits.zfill(len(digits) + len(digits) % 2)
