"""Who signs OCSP answers: for each issuer a key of its own beside the issuer's, with a certificate of days (RFC 6960,
4.2.2.2). The issuer's own key is left alone: it signs certificates and CRLs, and can be slow or strict about it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.authority import Authority
from certwatch.ca.certificate import Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.found import key_place
from certwatch.ca.issue import issue
from certwatch.ca.keys import FILE
from certwatch.ca.pkcs11_uri import parse
from certwatch.ca.request import Order, public_bytes
from certwatch.ca.signer import KeyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    issuer: Issuer
    #: Where its key is.
    key: str
    certificate: x509.Certificate

    @property
    def due(self) -> datetime:
        """When its successor is to be made."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return begin + (end - begin) / 2


def _key_type() -> KeyType:
    # Fast in every token, and what every client can verify.
    return "ec-p256"


def stored(authority: Authority) -> dict[int, Delegate]:
    """By issuer."""
    issuers = {each.id: each for each in authority.issuers(retired=True)}
    return {
        id: Delegate(issuer=issuers[id], key=key, certificate=x509.load_der_x509_certificate(der))
        for id, key, der in authority.rows("SELECT issuer, key, certificate FROM responders")
    }


def renew(authority: Authority, now: datetime) -> dict[int, Delegate]:
    """Make those that are missing or due. One that cannot be made stops no other. Returns all; raises CAError when one
    could not be made, after all were tried."""
    failed: CAError | None = None
    with authority.turn:
        found = stored(authority)
        for issuer in authority.issuers(retired=True):
            present = found.get(issuer.id)
            if present is not None and now < present.due:
                continue
            if issuer.certificate.not_valid_after_utc <= now:
                continue  # nothing of it is valid any more
            try:
                found[issuer.id] = _make(authority, issuer, present)
            except CAError as error:
                failed = error
    if failed is not None:
        raise failed
    return found


def _make(authority: Authority, issuer: Issuer, present: Delegate | None) -> Delegate:
    reference = present.key if present is not None else _new_key(authority, issuer)
    public = authority.keys.open(reference).public_key()
    order = Order(
        profile="ocsp-responder",
        public_key=public_bytes(public),
        names=(),
        subject=(("CN", f"{issuer.name[:50]} OCSP"),),
        requester="certwatch",
        submitter="certwatch",
        channel="ca",
        issuer=issuer.name,
    )
    answer = issue(authority, [(order, None)])[0]
    if isinstance(answer, CAError):
        raise answer
    der = answer.certificate.public_bytes(Encoding.DER)
    with authority.act() as act:
        act.connection.execute(
            "INSERT INTO responders VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET key = excluded.key,"
            " certificate = excluded.certificate",
            (issuer.id, reference, der),
        )
        act.append("responder", [{"issuer": issuer.name, "key": reference, "serial": answer.serial}])
    return Delegate(issuer=issuer, key=reference, certificate=answer.certificate)


def _new_key(authority: Authority, issuer: Issuer) -> str:
    label = f"{issuer.name[:50]} OCSP"
    if issuer.key.startswith(FILE):
        path = Path(issuer.key.removeprefix(FILE))
        place = key_place(authority, label, f"{FILE}{path}")
    else:
        place = parse(issuer.key).without_key().public
    return authority.keys.create(place, _key_type(), label)
