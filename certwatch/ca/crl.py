"""Certificate revocation lists: a number that only grows, made on time and at once after a revocation."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.authority import Authority, instant
from certwatch.ca.certificate import Issuer, authority_key
from certwatch.ca.failure import CAError
from certwatch.ca.ledger import _Act, micros
from certwatch.ca.signer import hash_for
from certwatch.telemetry.metrics import CA_CRL_NEXT_UPDATE

#: RFC 5280, 5.3.1, in the words of the command line.
REASONS: dict[str, x509.ReasonFlags] = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "ca-compromise": x509.ReasonFlags.ca_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
#: By the numbers of RFC 5280, as ACME has them (RFC 8555, 7.6).
BY_NUMBER: dict[int, str] = {
    0: "unspecified",
    1: "key-compromise",
    3: "affiliation-changed",
    4: "superseded",
    5: "cessation-of-operation",
    9: "privilege-withdrawn",
}


def build(
    issuer: Issuer,
    revoked: Iterable[tuple[int, datetime, str]],
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
    point: str | None,
    sign: Callable[[Any], Any],
) -> x509.CertificateRevocationList:
    """`revoked`: serial, when, reason. `point`: the URL that its certificates name."""
    entries = [_entry(serial, at, reason) for serial, at, reason in revoked]
    # The builder's own method copies the list for each entry: a million would take a quarter of an hour.
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=issuer.certificate.subject,
        last_update=this_update.replace(tzinfo=None),
        next_update=next_update.replace(tzinfo=None),
        extensions=[],
        revoked_certificates=entries,
    )
    builder = builder.add_extension(authority_key(issuer.certificate), critical=False)
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if point is not None:
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(
                full_name=[x509.UniformResourceIdentifier(point)],
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=False,
                only_some_reasons=None,
                indirect_crl=False,
                only_contains_attribute_certs=False,
            ),
            critical=True,
        )
    algorithm = hash_for(issuer.certificate.public_key())
    made: x509.CertificateRevocationList = sign(lambda key: builder.sign(key, algorithm))
    return made


def _entry(serial: int, at: datetime, reason: str) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder(serial, at.replace(tzinfo=None, microsecond=0))
    if reason != "unspecified":
        # Left out rather than said (RFC 5280, 5.3.1).
        builder = builder.add_extension(x509.CRLReason(REASONS[reason]), critical=False)
    return builder.build()


def shards(authority: Authority, issuer: Issuer) -> list[int]:
    """CRLs that this issuer's certificates name, now or from an earlier config."""
    used = authority.rows("SELECT DISTINCT shard FROM certificates WHERE issuer = ?", issuer.id)
    return sorted({*range(authority.settings.addresses.partitions), *(shard for (shard,) in used)})


def make(authority: Authority, issuer: Issuer, shard: int) -> bytes:
    """The next CRL, stored and in the ledger. DER. Raises CAError."""
    with authority.turn, authority.act() as act:
        return _make(authority, act, issuer, shard)


def _make(authority: Authority, act: _Act, issuer: Issuer, shard: int) -> bytes:
    now = instant(act.instant).replace(microsecond=0)
    lifetime = authority.settings.crl_lifetime
    url = authority.settings.addresses
    row = act.connection.execute(
        "SELECT number FROM crls WHERE issuer = ? AND shard = ?", (issuer.id, shard)
    ).fetchone()
    number = row[0] + 1 if row is not None else 1
    # On one list after it has ended (RFC 5280, 3.3), then no more.
    ended = micros(now - lifetime - timedelta(days=1))
    revoked = act.connection.execute(
        "SELECT serial, revoked, coalesce(reason, 'unspecified') FROM certificates"
        " WHERE issuer = ? AND shard = ? AND revoked IS NOT NULL AND not_after > ? ORDER BY revoked",
        (issuer.id, shard, ended),
    )
    following = min(now + lifetime, issuer.certificate.not_valid_after_utc)
    made = build(
        issuer,
        ((int.from_bytes(serial, "big"), instant(at), reason) for serial, at, reason in revoked),
        number=number,
        this_update=now,
        next_update=following,
        point=url.crl(issuer.id, shard) if url.url else None,
        sign=lambda sign: authority.signing(issuer, "crl", sign),
    )
    der = made.public_bytes(Encoding.DER)
    act.connection.execute(
        "INSERT INTO crls VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET number = excluded.number,"
        " this_update = excluded.this_update, next_update = excluded.next_update, der = excluded.der",
        (issuer.id, shard, number, micros(now), micros(following), der),
    )
    act.append(
        "crl",
        [
            {
                "issuer": issuer.name,
                "partition": shard,
                "number": number,
                "next_update": micros(following),
                "sha256": hashlib.sha256(der).hexdigest(),
            }
        ],
    )
    gauge = CA_CRL_NEXT_UPDATE.labels(issuer.name, str(shard))
    act.afterwards.append(lambda: gauge.set(following.timestamp()))
    return der


def current(authority: Authority, issuer: Issuer, shard: int) -> bytes:
    """The one that is published; made now if there is none, or its successor is due. Raises CAError."""
    with authority.turn:
        rows = authority.rows(
            "SELECT this_update, der FROM crls WHERE issuer = ? AND shard = ?", issuer.id, shard
        )
        if rows and instant(rows[0][0]) + authority.settings.crl_every > authority.clock():
            return bytes(rows[0][1])
        return make(authority, issuer, shard)


def refresh(authority: Authority) -> int:
    """Make what is due. Returns how many were made."""
    made = 0
    for issuer in authority.issuers(retired=True):
        for shard in shards(authority, issuer):
            rows = authority.rows(
                "SELECT this_update FROM crls WHERE issuer = ? AND shard = ?", issuer.id, shard
            )
            if not rows or instant(rows[0][0]) + authority.settings.crl_every <= authority.clock():
                make(authority, issuer, shard)
                made += 1
    return made


def serial_of(text: str) -> bytes:
    """As the books have it, of what people type. Raises CAError "usage"."""
    try:
        return bytes.fromhex(text.replace(":", "").removeprefix("0x").zfill(32))
    except ValueError as error:
        raise CAError("usage", f'"{text[:60]}" is not a serial number in hexadecimal') from error


def revoke(authority: Authority, serial: str, reason: str, person: str) -> None:
    """On disk, in the ledger, and in a new CRL, when this returns. Raises CAError."""
    if reason not in REASONS:
        raise CAError("usage", f'"{reason}" is no reason (known: {", ".join(REASONS)})')
    key = serial_of(serial)
    with authority.turn:
        rows = authority.rows("SELECT issuer, shard, revoked, state FROM certificates WHERE serial = ?", key)
        if not rows:
            raise CAError("not-found", f"{serial}: this CA has made no certificate with this serial number")
        [(issuer_id, shard, revoked, state)] = rows
        if revoked is not None:
            raise CAError(
                "refused", f"{serial}: is revoked already, since {instant(revoked):%Y-%m-%d %H:%MZ}"
            )
        if state != "issued":
            raise CAError("refused", f"{serial}: was never issued ({state})")
        issuer = next(each for each in authority.issuers(retired=True) if each.id == issuer_id)
        with authority.act() as act:
            act.connection.execute(
                "UPDATE certificates SET revoked = ?, reason = ? WHERE serial = ?", (act.instant, reason, key)
            )
            act.append("revocation", [{"serial": key.hex(), "reason": reason, "by": person}])
        authority.step("revoked")
        # Apart: a token that is away delays the list, and never the revocation.
        make(authority, issuer, shard)
