"""When a certificate should be renewed (ARI, RFC 9773), so that the CA can spread renewals, and call them early."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from certwatch.ca.acme import jws
from certwatch.ca.acme.accounts import Account
from certwatch.ca.acme.problem import Problem
from certwatch.ca.authority import Authority, instant
from certwatch.ca.failure import CAError

#: How long a client may take an answer for true: so long it takes until all know of a compromise.
ASK_AGAIN = timedelta(hours=1)
#: Below that, half of the lifetime is left when renewal begins; else a third.
SHORT = timedelta(days=10)
#: Serial numbers that one entry of the ledger names.
IN_AN_ENTRY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    start: datetime
    end: datetime
    #: Why it is earlier than usual. None: it is not.
    why: str | None


def certificate_id(certificate: x509.Certificate) -> str:
    """RFC 9773, 4.1. Raises ValueError where it has no authority key identifier."""
    try:
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound as error:
        raise ValueError("the certificate has no authority key identifier") from error
    if key is None:
        raise ValueError("the authority key identifier has no key identifier")
    return f"{jws.encode(key)}.{jws.encode(_serial_octets(certificate.serial_number))}"


def _serial_octets(serial: int) -> bytes:
    # The content of the INTEGER: with a zero in front where it would be negative else.
    return serial.to_bytes(serial.bit_length() // 8 + 1, "big")


def serial_of(authority: Authority, id: str) -> bytes:
    """Of a certificate of ours, as the books have it. Raises Problem 404 for any other."""
    parts = id.split(".")
    if len(parts) != 2 or len(id) > 200:
        raise Problem("malformed", "not the id of a certificate (RFC 9773, 4.1)")
    key, serial = (jws.decode(each, "the id of the certificate") for each in parts)
    if not serial or serial[0] & 0x80:
        raise Problem("malformed", "not the id of a certificate: its serial number would be negative")
    for issuer in authority.issuers(retired=True):
        ours = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        if ours == key:
            stored = (
                int.from_bytes(serial, "big").to_bytes(16, "big")
                if len(serial) <= 17 and serial[:-16] in (b"", b"\0")
                else b""
            )
            rows = authority.rows(
                "SELECT serial FROM certificates WHERE serial = ? AND issuer = ? AND der IS NOT NULL",
                stored,
                issuer.id,
            )
            if rows:
                return bytes(rows[0][0])
    raise Problem("malformed", "no certificate of this CA has that id", status=404)


def window(authority: Authority, serial: bytes) -> Window:
    """Raises Problem 404."""
    rows = authority.rows(
        "SELECT c.not_before, c.not_after, c.revoked, i.retired, i.name, n.at, n.why FROM certificates c"
        " JOIN issuers i ON i.id = c.issuer LEFT JOIN acme_renew_now n ON n.serial = c.serial WHERE c.serial = ?",
        serial,
    )
    if not rows:
        raise Problem("malformed", "no certificate of this CA has that id", status=404)
    [(begin, end, revoked, retired, name, called, why)] = rows
    begin, end = instant(begin), instant(end)
    early = (
        (revoked, "it is revoked") if revoked is not None
        else (called, str(why)) if called is not None
        else (retired, f"the issuer {name} is not in use any more") if retired is not None
        else None
    )  # fmt: skip
    if early is not None:
        # A window that has passed: at once (RFC 9773, 4.2).
        at = min(instant(early[0]), end)
        return Window(start=at - timedelta(hours=1), end=at, why=early[1])
    lifetime = end - begin
    start = end - (lifetime / 2 if lifetime < SHORT else lifetime / 3)
    # Clients choose an instant at random in it, and so spread.
    return Window(start=start, end=start + (end - start) / 4, why=None)


def call(authority: Authority, serials: list[bytes], why: str, by: str) -> int:
    """From now on their clients are told to renew at once: how many are new. Raises CAError."""
    with authority.act() as act:
        called: list[str] = []
        for each in serials:
            added = act.connection.execute(
                "INSERT INTO acme_renew_now (serial, at, why) SELECT serial, ?, ? FROM certificates WHERE serial = ?"
                " AND state = 'issued' ON CONFLICT DO NOTHING",
                (act.instant, why, each),
            ).rowcount
            if added > 0:
                called.append(each.hex())
        act.append(
            "renew-now",
            [
                {"certificates": len(part), "why": why, "by": by, "serials": part}
                for part in (
                    called[first : first + IN_AN_ENTRY] for first in range(0, len(called), IN_AN_ENTRY)
                )
            ],
        )
    return len(called)


def live_serials(authority: Authority, *, issuer: str | None = None) -> list[bytes]:
    """Of certificates that are valid now: of one issuer, or of all. Raises CAError."""
    now = int(authority.clock().timestamp() * 1_000_000)
    where, values = "", [now]
    if issuer is not None:
        if issuer not in {each.name for each in authority.issuers(retired=True)}:
            raise CAError("usage", f'no issuer is called "{issuer}"')
        where, values = "AND i.name = ?", [now, issuer]  # type: ignore[list-item]
    return [
        bytes(serial)
        for (serial,) in authority.rows(
            "SELECT c.serial FROM certificates c JOIN issuers i ON i.id = c.issuer"  # noqa: S608
            f" WHERE c.state = 'issued' AND c.revoked IS NULL AND c.not_after > ? {where}",
            *values,
        )
    ]


def check_replaces(authority: Authority, id: object, account: Account, names: set[str]) -> bytes:
    """RFC 9773, 5: a certificate of this account with a name in common, which no order that came to something replaces yet.
    Raises Problem."""
    if not isinstance(id, str):
        raise Problem("malformed", "replaces is the id of a certificate (RFC 9773, 4.1)")
    serial = serial_of(authority, id)
    [(requester, had)] = authority.rows("SELECT requester, names FROM certificates WHERE serial = ?", serial)
    if requester != account.requester:
        raise Problem("unauthorized", "the certificate to be replaced is of another account")
    if not names & set(had.split()):
        raise Problem("malformed", "the certificate to be replaced has no name in common with the order")
    taken = authority.rows(
        "SELECT 1 FROM certificates WHERE replaces = ? AND state = 'issued' UNION ALL"
        " SELECT 1 FROM acme_orders o JOIN requests r ON r.id = o.request WHERE o.replaces = ?"
        " AND r.state IN ('waiting', 'approved') LIMIT 1",
        serial,
        serial,
    )
    if taken:
        raise Problem("alreadyReplaced", "the certificate has been replaced already")
    return serial
