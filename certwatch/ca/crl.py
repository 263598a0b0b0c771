"""Certificate revocation lists: a number that only grows, made on time and at once after a revocation."""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.assembled import signature_over, signed
from certwatch.ca.authority import Authority, instant
from certwatch.ca.certificate import Issuer, authority_key
from certwatch.ca.crl_entries import REASONS, Entries
from certwatch.ca.failure import CAError
from certwatch.ca.ledger import micros
from certwatch.ca.signer import hash_for, rehearsal_key
from certwatch.telemetry.metrics import CA_CRL_NEXT_UPDATE
from certwatch.x509.tlv import encode, header

_SEQUENCE, _EXTENSIONS = 0x30, 0xA0
#: Rows that are taken from the database at once.
AT_ONCE = 2000

#: By the numbers of RFC 5280, as ACME has them (RFC 8555, 7.6).
BY_NUMBER: dict[int, str] = {
    0: "unspecified",
    1: "key-compromise",
    3: "affiliation-changed",
    4: "superseded",
    5: "cessation-of-operation",
    9: "privilege-withdrawn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a CRL is of: an issuer's certificates, or a partition of them."""

    issuer: Issuer
    partition: int
    #: URL of the complete one, as its certificates name it. None: they name nothing.
    point: str | None
    #: URL of the delta. None: there is none.
    delta: str | None


def build(
    scope: Scope,
    revoked: Entries,
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
    base: int | None = None,
    sign: Callable[[Callable[[Any], Any]], Any],
) -> tuple[x509.CertificateRevocationList, bytes]:
    """The list and its DER. `base`: it is a delta of the CRL with that number. `sign` has a function called with the issuer's
    key. Raises CAError."""
    empty = _empty(scope, number=number, this_update=this_update, next_update=next_update, base=base)
    tbs = _filled(empty.tbs_certlist_bytes, revoked.data)
    signature: bytes = sign(lambda key: signature_over(tbs, key))
    der = signed(empty.public_bytes(Encoding.DER), empty.tbs_certlist_bytes, tbs, signature)
    try:
        made = x509.load_der_x509_crl(der)
        ends = [made[0], made[revoked.count - 1]] if revoked.count else []
        if (
            made.tbs_certlist_bytes == tbs
            and len(made) == revoked.count
            and all(
                row is not None and each.serial_number == int.from_bytes(row[0], "big")
                for each, row in zip(ends, (revoked.first, revoked.last), strict=False)
            )
        ):
            return made, der
    except (ValueError, IndexError):
        pass
    raise CAError("other", "the CRL that was made cannot be read. Nothing was released")


def _empty(
    scope: Scope, *, number: int, this_update: datetime, next_update: datetime, base: int | None
) -> x509.CertificateRevocationList:
    """As the list will be, but for its entries and its signature."""
    issuer = scope.issuer.certificate
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(this_update.replace(tzinfo=None))
        .next_update(next_update.replace(tzinfo=None))
    )
    builder = builder.add_extension(authority_key(issuer), critical=False)
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if scope.point is not None:
        # A delta has that of its base (RFC 5280, 5.2.4).
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(
                full_name=[x509.UniformResourceIdentifier(scope.point)],
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=False,
                only_some_reasons=None,
                indirect_crl=False,
                only_contains_attribute_certs=False,
            ),
            critical=True,
        )
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    elif scope.delta is not None:
        at = x509.UniformResourceIdentifier(scope.delta)
        builder = builder.add_extension(
            x509.FreshestCRL([x509.DistributionPoint([at], None, None, None)]), critical=False
        )
    public = issuer.public_key()
    return builder.sign(rehearsal_key(public), hash_for(public))  # type: ignore[arg-type]


def _filled(tbs: bytes, entries: bytearray) -> bytes:
    """With entries: they stand before the extensions, and not at all where there are none (RFC 5280, 5.1.2.6)."""
    if not entries:
        return tbs
    _, start, end = header(tbs, 0, len(tbs))
    position = start
    while tbs[position] != _EXTENSIONS:
        _, _, position = header(tbs, position, end)
    return encode(_SEQUENCE, b"".join((tbs[start:position], encode(_SEQUENCE, entries), tbs[position:end])))


def partitions(authority: Authority, issuer: Issuer) -> list[int]:
    """CRLs that this issuer's certificates name, now or from an earlier config."""
    used = authority.rows("SELECT shard FROM shards WHERE issuer = ?", issuer.id)
    return sorted({*range(authority.settings.addresses.partitions), *(shard for (shard,) in used)})


def make(authority: Authority, issuer: Issuer, partition: int, *, scheduled: bool = True) -> bytes:
    """The next CRL, stored and in the ledger; the delta with it, where there are deltas. DER. Others act meanwhile: the
    ledger's turn is taken for the result alone. `scheduled`: it is the base of the deltas to come. Raises CAError."""
    with authority.crl_turn:
        return _make(authority, issuer, partition, scheduled=scheduled)


def _make(authority: Authority, issuer: Issuer, partition: int, *, scheduled: bool) -> bytes:
    settings, key = authority.settings, (issuer.id, partition)
    exactly = authority.clock()
    now = exactly.replace(microsecond=0)
    following = min(now + settings.crl_lifetime, issuer.certificate.not_valid_after_utc)
    url = settings.addresses
    scope = Scope(
        issuer=issuer,
        partition=partition,
        point=url.crl(*key) if url.url else None,
        delta=url.delta(*key) if url.url and settings.crl_delta else None,
    )
    # On one list after it has ended (RFC 5280, 3.3), then no more.
    ended = micros(now - settings.crl_lifetime - timedelta(days=1))

    def read(connection: sqlite3.Connection) -> tuple[int, tuple[int, int], Entries, Entries]:
        every, since = Entries(), Entries()
        connection.execute("BEGIN")  # one state for all of it
        try:
            stored = connection.execute(
                "SELECT number FROM crls WHERE issuer = ? AND shard = ?", key
            ).fetchone()
            base = connection.execute(
                "SELECT number, this_update FROM crl_bases WHERE issuer = ? AND shard = ?", key
            ).fetchone()
            number = (stored[0] if stored is not None else 0) + 1
            if scheduled or base is None:
                base = (number, micros(exactly))
            rows = connection.execute(
                "SELECT serial, revoked, coalesce(reason, 'unspecified') FROM certificates"
                " WHERE issuer = ? AND shard = ? AND revoked IS NOT NULL AND not_after > ? ORDER BY revoked",
                (*key, ended),
            )
            while some := rows.fetchmany(AT_ONCE):
                every.add(some)
                if settings.crl_delta:
                    since.add(each for each in some if each[1] >= base[1])
        finally:
            connection.execute("COMMIT")
        return number, base, every, since

    number, base, every, since = authority.readers.ask(read)

    def made(revoked: Entries, of: int | None) -> bytes:
        _, der = build(
            scope,
            revoked,
            number=number,
            this_update=now,
            next_update=following,
            base=of,
            sign=lambda sign: authority.signing(issuer, "crl", sign),
        )
        return der

    der = made(every, None)
    every.data.clear()
    delta = made(since, base[0]) if settings.crl_delta else None
    span = (number, micros(exactly), micros(following))
    with authority.act() as act:
        act.connection.execute("INSERT OR REPLACE INTO crls VALUES (?, ?, ?, ?, ?, ?)", (*key, *span, der))
        said: dict[str, object] = {
            "issuer": issuer.name,
            "partition": partition,
            "number": number,
            "this_update": span[1],
            "next_update": span[2],
            "sha256": hashlib.sha256(der).hexdigest(),
        }
        if delta is not None:
            act.connection.execute("INSERT OR REPLACE INTO crl_bases VALUES (?, ?, ?, ?)", (*key, *base))
            act.connection.execute(
                "INSERT OR REPLACE INTO delta_crls VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, number, base[0], *span[1:], delta),
            )
            said |= {
                "base": base[0],
                "base_update": base[1],
                "delta_sha256": hashlib.sha256(delta).hexdigest(),
            }
        act.append("crl", [said])
        gauge = CA_CRL_NEXT_UPDATE.labels(issuer.name, str(partition))
        act.afterwards.append(lambda: gauge.set(following.timestamp()))
    return der


def is_due(
    authority: Authority, issuer: Issuer, partition: int
) -> Literal["missing", "scheduled", "revoked"] | None:
    """Why a new one is to be made. None: it is not."""
    key = (issuer.id, partition)
    rows = authority.rows("SELECT this_update FROM crls WHERE issuer = ? AND shard = ?", *key)
    if not rows:
        return "missing"
    [(made,)] = rows
    if instant(made) + authority.settings.crl_every <= authority.clock():
        return "scheduled"
    # Something kept it from being made at once: a crash, a token that was away.
    [(last,)] = authority.rows(
        "SELECT max(revoked) FROM certificates WHERE issuer = ? AND shard = ? AND revoked IS NOT NULL", *key
    )
    return "revoked" if last is not None and last > made else None


def current(authority: Authority, issuer: Issuer, partition: int) -> bytes:
    """The one that is published; made now if there is none, or its successor is due. Raises CAError."""
    why = is_due(authority, issuer, partition)
    if why is not None:
        return make(authority, issuer, partition, scheduled=why != "revoked")
    [(der,)] = authority.rows("SELECT der FROM crls WHERE issuer = ? AND shard = ?", issuer.id, partition)
    return bytes(der)


def refresh(authority: Authority) -> int:
    """Make what is due; one that cannot be made stops no other. Returns how many were made; raises CAError when one
    could not be, after all were tried."""
    made, failed = 0, None
    for issuer in authority.issuers(retired=True):
        ended = issuer.certificate.not_valid_after_utc <= authority.clock()
        for partition in partitions(authority, issuer):
            if ended:
                # Nothing of it is valid any more, and nobody need be told that its CRL ended.
                with suppress(KeyError):
                    CA_CRL_NEXT_UPDATE.remove(issuer.name, str(partition))
                continue
            why = is_due(authority, issuer, partition)
            if why is None:
                _show(authority, issuer, partition)
                continue
            try:
                make(authority, issuer, partition, scheduled=why != "revoked")
                made += 1
            except CAError as error:
                failed = error
                _show(authority, issuer, partition)
    if failed is not None:
        raise failed
    return made


def _show(authority: Authority, issuer: Issuer, partition: int) -> None:
    """What is published, also when another process made it."""
    for (ends,) in authority.rows(
        "SELECT next_update FROM crls WHERE issuer = ? AND shard = ?", issuer.id, partition
    ):
        CA_CRL_NEXT_UPDATE.labels(issuer.name, str(partition)).set(ends / 1e6)


def serial_of(text: str) -> bytes:
    """As the books have it, of what people type. Raises CAError "usage"."""
    try:
        return bytes.fromhex(text.replace(":", "").removeprefix("0x").zfill(32))
    except ValueError as error:
        raise CAError("usage", f'"{text[:60]}" is not a serial number in hexadecimal') from error


def revoke(authority: Authority, serial: str, reason: str, person: str) -> None:
    """On disk and in the ledger when this returns, and a new CRL is made or under way. Raises CAError."""
    if reason not in REASONS:
        raise CAError("usage", f'"{reason}" is no reason (known: {", ".join(REASONS)})')
    key = serial_of(serial)
    with authority.turn:
        rows = authority.rows("SELECT issuer, shard, revoked, state FROM certificates WHERE serial = ?", key)
        if not rows:
            raise CAError("not-found", f"{serial}: this CA has made no certificate with this serial number")
        [(issuer_id, partition, revoked, state)] = rows
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
    if authority.crl_due is not None:
        authority.crl_due(issuer, partition)
    else:
        make(authority, issuer, partition, scheduled=False)
