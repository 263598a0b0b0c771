"""One look at one location, and the run of looks it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NewType, get_args

from certwatch.model.location import LocationURI

ErrorKind = Literal[
    "dns",
    "refused",
    "unreachable",
    "timeout",
    "reset",
    "not-tls",
    "tls-alert",
    "no-certificate",
    "malformed",
    "permission",
    "not-found",
    "passphrase",
    "other",
]
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

#: A fact is one scalar. Facts whose name ends in "_seconds" are measured anew by every look; all others are
#: stable, and a change in one of them is a change of the location.
Fact = str | int | float | bool | None

#: Every fact's name, and what it says. A plug-in's own facts carry its kind in front ("aws_in_use_by").
FACTS: Mapping[str, str] = {
    "tls_version": 'negotiated protocol, "TLSv1.3"',
    "cipher": "negotiated cipher suite, by OpenSSL's name",
    "group": 'negotiated key exchange group, "X25519MLKEM768"; absent: none, or not known',
    "alpn": "negotiated application protocol; absent: none",
    "dns_seconds": "looking the name up",
    "connect_seconds": "TCP connect",
    "starttls_seconds": "the plain dialogue before TLS",
    "handshake_seconds": "TLS handshake, first byte sent to finished",
    "certificate_seconds": "from the ClientHello to the certificate, where it was left at that (sweep)",
    "swept": "true: the certificate was read from the first flight of TLS 1.2, and that was all: a sweep",
    "ocsp_stapled": "true: the server stapled an OCSP response",
    "client_certificate_requested": "true: the server asked for a client certificate",
    "ocsp_stapled_intermittently": "true: within a day there was one, none, and one again",
    "ocsp_staple_missing_again": "true: none at two looks in a row, where one is demanded or was before",
    "staple_status": 'of a stapled OCSP response: "good", "revoked", "unknown"; absent: none, or not believed',
    "staple_fault": "why the stapled OCSP response must not be believed; absent: it may",
    "staple_next_update": "by when the staple is to be renewed, RFC 3339",
    "certificate": "SHA-256 of the certificate that a statement about revocation is about, hex",
    "certificate_name": "what people call that certificate",
    "certificate_location": "a place where it is seen",
    "certificate_ca_status": 'what its CA\'s books say of it: "revoked"; absent: they do not, or nobody reads them',
    "certificate_ca_revoked_at": "since when they say so, RFC 3339",
    "revocation_status": '"good", "revoked" or "unknown", as the source says',
    "revocation_reason": "CRLReason by RFC 5280 name; absent: none is given",
    "revoked_at": "when it was revoked, RFC 3339",
    "crl_lints": "what of the format a CRL breaks, by the linter's codes",
    "ocsp_lints": "what of the format a responder's answers break, by the linter's codes",
    "ocsp_fault": "why an OCSP answer must not be believed; absent: it may",
    "ocsp_fault_text": "the same, in words",
    "ocsp_produced_at": "when the answer was signed, RFC 3339",
    "ocsp_this_update": "from when the answer's status is, RFC 3339",
    "ocsp_next_update": "by when there is to be a newer one, RFC 3339; absent: at any time",
    "ocsp_delegate_not_after": "end of validity of the delegate that signed, RFC 3339; absent: the issuer itself did",
    "ocsp_seconds": "asking the responder, from looking its name up to the last byte; absent: from memory",
    "crl_issuer": "RFC 4514 name of who issued the CRL",
    "crl_number": "CRL number, decimal; absent: it has none",
    "crl_kind": '"full", "delta", "partition" (for some certificates or reasons only), "indirect" (of several issuers)',
    "crl_this_update": "when it was made, RFC 3339",
    "crl_next_update": "by when there is to be a newer one, RFC 3339; absent: it does not say",
    "crl_entries": "revoked certificates in it",
    "crl_bytes": "its size",
    "crl_signature_algorithm": "what it is signed with",
    "crl_verified": "true: signed by a known CA of that name; false: by no known one",
    "crl_seconds": "fetching it",
    "arrangement": 'how a file\'s certificates belong together: "chain", "bundle" (unordered, trust anchors …)',
    "container": 'format of the file that holds them, where it is not bare PEM or DER: "pkcs7", "pkcs12", "jks", …',
    "key_match": "true: the private key beside the leaf is its own; false: it is another; absent: no key seen",
    "ca_status": 'what a CA\'s database says of a certificate: "issued" or "revoked"',
    "ca_serial": "serial number in a CA's database, hex; absent: it is the certificate's own",
    "ca_subject": "subject in a CA's database, of a certificate that it does not keep",
    "ca_not_after": "end of validity in a CA's database, of a certificate that it does not keep, RFC 3339",
    "ca_requester": "who asked the CA for it",
    "ca_profile": "profile, template or provisioner by which it was issued",
    "ca_collision": "beginning of the SHA-256 of another certificate with the same issuer and serial number, hex",
    "ca_preset": "kind of CA database",
    "ca_mark": "how far a CA's database has been read; the collector's own",
    "ca_full_read_at": "when all of a CA's database was last read, RFC 3339",
    "ca_issuers": "digests of the issuers' names in a CA's database",
    "ca_issued_by_day": 'certificates issued, by day of the beginning of validity, "2026-11-24:12 …"',
    "ca_longest_lifetime_days": "the longest validity that the CA issued within 90 days",
    "ca_short_serials": "certificates of the last 90 days whose serial number has less than 64 random bits",
    "ca_pending": "requests that wait for somebody's decision",
    "ca_pending_since": "since when the oldest of them waits, RFC 3339",
    "ca_pending_oldest": "what the oldest of them is called, where the CA does not say since when it waits",
    "ca_publishes_revocation": "false: the CA writes neither a CRL's nor an OCSP responder's URL into what it issues",
    "ca_went_back_at": "when a CA's database was found to stand where it stood before, RFC 3339",
    "in_use": "false: the store says that nobody uses it; absent: not known",
    "in_use_by": "who uses it, as the store names them, separated by spaces",
    "renewal": 'of a certificate that its store renews: "ok", "pending", "failed"; absent: nothing is under way',
    "renewal_reason": "why it is not renewed or issued, as the store says",
    "renewal_since": "since when its renewal stands so, RFC 3339",
    "renewal_unvalidated": "names that are not validated yet, separated by spaces",
    "renewal_managed": "true: its store renews it by itself",
    "ct_log": "what the list of logs calls a CT log",
    "ct_operator": "who runs it",
    "ct_kind": '"rfc6962" or "static"',
    "ct_log_state": 'what the list says of a CT log: "usable", "readonly", …',
    "ct_log_key": "a CT log's public key, base64",
    "ct_start": "first entry of a CT log that was read",
    "ct_size": "entries of a CT log up to which everything is verified",
    "ct_head_size": "entries by its newest head",
    "ct_head_at": "when that head was signed, RFC 3339",
    "ct_read_at": "everything that the log took before is read and verified, RFC 3339",
    "ct_finished": "true: the log grows no more, and is read to its end",
    "ct_slow": "why a CT log cannot be kept up with; absent: it can",
    "ct_faults": "what a CT log did that it must not, with the evidence, JSON",
    "ct_mark": "the tree and head up to which a CT log is read; the collector's own",
    "ct_items": "what is watched, as digests; the collector's own",
    "ct_since": "since when a collector watches, RFC 3339",
    "ct_index": "which entry of its log a certificate is",
    "ct_entry": '"certificate", "precertificate", or "unreadable"',
    "ct_logged_at": "when the log took it, RFC 3339",
    "ct_matches": "what is watched, and where it stands in the certificate",
    "ct_issuer_key": "SHA-256 of the issuer's public key, hex",
    "ct_caa": 'what CAA records said of its CA when it was found: "allowed", "bound" (to accounts), "forbidden", "open"; absent: not asked',
    "ct_caa_text": "why CAA records forbid it",
    "ct_caa_accounts": "accounts to which CAA records bind its CA, separated by spaces",
    "ct_proof": "that the entry is in the log's signed tree, JSON",
    "tls_timestamps": "timestamps of CT logs that a server sends in the handshake, base64; absent: none",
    "staple_timestamps": "timestamps of CT logs in a stapled OCSP response, base64; absent: none",
    "sct_count": "timestamps of CT logs for a certificate",
    "sct_from": 'where they came from: "certificate", "TLS", "OCSP", separated by ", "',
    "sct_logs": "logs that signed them",
    "sct_valid": "how many have a valid signature of a known log",
    "sct_unverified": "true: the issuer's certificate is not sent along, so that signatures cannot be verified",
    "sct_fault": "what is wrong with them; absent: nothing",
    "sct_unlogged": "logs that promised the certificate and do not have it",
    "sct_checked": "logs in which it was found, by inclusion proof",
    "renewal_off": "true: an ACME client is told not to renew it",
    "renewal_client": "the ACME client that renews it",
    "tls_targets": "where this place says that it is served: targets of the tls collector, separated by spaces",
    "renewal_due_at": "when its ACME client means to renew it, RFC 3339; absent: it does not say",
    "renewal_days_before": "how many days before the end its ACME client is told to renew it; absent: by the client's own rule",
    "renewal_server": "the ACME server that its client renews it at",
    "renewal_hook": "true: its ACME client is told of a command, or a server, that takes the new one after a renewal",
    "key_encrypted": "true: a private key is there but encrypted, so that it was not compared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LookError:
    """Why a look saw nothing, or not everything."""

    kind: ErrorKind
    #: One line for an operator: where, what, what to do. No secret, no control characters.
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    location: LocationURI
    #: Aware UTC.
    observed_at: datetime
    #: The certificates as presented, each one's DER, leaf first. Empty: none was seen, then `error` says why; or the
    #: place has none to show, and `facts` say what it has instead (a CRL, an OCSP answer).
    chain: tuple[bytes, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    #: With a chain: something beside it could not be read (one of many blocks in a file).
    error: LookError | None = None
    #: What the source itself says of the location (tags, namespace); configured labels are added by the engine.
    labels: Mapping[str, str] = field(default_factory=dict)
    #: The stapled OCSP response, DER. None: none was stapled.
    stapled_ocsp: bytes | None = None
    #: The part of the collector's world that this location belongs to: completeness is judged scope by scope.
    scope: str = ""
    #: Nobody said that there is something (an address of a network, a listening port): as long as no certificate was
    #: ever seen there, an error makes no location of it.
    guessed: bool = False
    #: Of a guessed place: nothing takes a connection there. A known location is failing by it, and counts as not seen: a
    #: complete scan retires it.
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete:
    """Said by a collector: this part of its world could not be looked at now. The scan becomes partial and no
    location of that scope is retired. The empty scope means: everything."""

    scope: str
    error: LookError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """Said by a collector that reads a source by what is new in it: of this scope it named only what has changed. The
    scan is complete for all that, and no location of the scope is retired."""

    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """Said by a collector whose way through a scope spans several scans, by the scan that came to the end of it: what
    none of them saw is gone, and what one of them saw is not."""

    scope: str
    #: When the way began, aware UTC, while a scan was running.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Said by a collector that follows its source, between two scans: this place is there no more."""

    location: LocationURI
    #: Aware UTC. Who saw the place later than this knows better.
    observed_at: datetime


ScanID = NewType("ScanID", int)
ScanStatus = Literal["running", "complete", "partial", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One run of one collector."""

    id: ScanID
    collector: str
    started_at: datetime
    #: None: still running, or its process died.
    finished_at: datetime | None
    status: ScanStatus
    #: Why it is partial or failed; None: it is complete.
    error: LookError | None
    #: Observations recorded.
    observations: int
    #: Observations that were errors.
    errors: int
