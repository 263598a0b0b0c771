"""The certificate that the CA's TLS listener presents, of the CA itself: made at the start, renewed at half its life.

Its key is in a file of the CA's folder: it opens nothing but this listener."""

import socket
import ssl
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified, issue
from certwatch.ca.key_file import generate, write_new
from certwatch.ca.new_request import make_csr
from certwatch.ca.profiles import INTERNAL
from certwatch.ca.request import load_csr, order_of

REQUESTER = "certwatch"
PROFILE = INTERNAL["listener"]


def names_for(hostnames: tuple[str, ...], listen: str, url_host: str | None) -> tuple[str, ...]:
    """What it is called by: as configured, else the host of `ca: url`, the address and this host's name."""
    host = listen.rpartition(":")[0].strip("[]")
    wanted = list(hostnames) or [url_host or "", host, socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    found = []
    for each in wanted:
        if not each or each in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            continue
        try:
            found.append(f"ip:{ip_address(each)}")
        except ValueError:
            found.append(f"dns:{each.lower()}")
    return tuple(dict.fromkeys(found))


class OwnCertificate:
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        #: When a new one is to be made. None: there is none yet.
        self.due: datetime | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        # Asked for, not demanded: ACME clients and those with an enrolment token have none.
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def renew(self, authority: Authority) -> None:
        """From now on new connections see the new one. Raises CAError."""
        key = generate("ec-p256")
        csr = load_csr(make_csr(key, self._names, None).encode())
        order = order_of(
            csr,
            PROFILE,
            requester=REQUESTER,
            submitter=REQUESTER,
            channel="ca",
        )
        made = issue(authority, [(order, None)])[0]
        if isinstance(made, CAError):
            raise made
        self._load(authority.settings.directory, key, made)
        begin, end = made.certificate.not_valid_before_utc, made.certificate.not_valid_after_utc
        self.due = begin + (end - begin) / 2
        self.trust(authority)

    def _load(self, directory: Path, key: object, made: Certified) -> None:
        # The library takes keys from files alone. Gone again when it has read it.
        path = directory / "listener.pem"
        pem = key.private_bytes(  # type: ignore[attr-defined]
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.unlink(missing_ok=True)
        write_new(path, pem + made.chain)
        try:
            self.context.load_cert_chain(path)
        finally:
            path.unlink(missing_ok=True)

    def trust(self, authority: Authority) -> None:
        """Client certificates of every issuer that this CA has or had: whether one still holds is asked of the ledger's
        tables, not of the handshake."""
        for issuer in authority.issuers(retired=True):
            self.context.load_verify_locations(
                cadata=issuer.certificate.public_bytes(serialization.Encoding.DER)
            )
