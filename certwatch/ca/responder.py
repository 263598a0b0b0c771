"""The OCSP responder: answers signed before they are asked for, kept until they have lived half their life or the
certificate is revoked.

Who asks with a nonce is given an answer of its own, within a limit: beyond it the kept one, without (RFC 9654, 2.1 and
RFC 5019, 4: a responder may). So nobody can have the token sign without end."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256

import msgspec
from cryptography.x509.ocsp import OCSPResponseStatus

from certwatch.ca import delegate
from certwatch.ca.authority import Authority, instant
from certwatch.ca.delegate import Delegate
from certwatch.ca.failure import CAError
from certwatch.ca.issue import serial_bytes
from certwatch.ca.ledger import Entry, micros
from certwatch.ca.ocsp_answer import ALGORITHMS, Asked, CertID, Status, hashes_of, make, unsuccessful
from certwatch.ca.rates import Bucket

#: Answers and requests that are kept: some 100 MB at most.
MOST_KEPT = 100_000
#: Signed ahead in one round; a round comes every few seconds.
PRESIGNED_A_ROUND = 2_000
LOOKED_AT_A_ROUND = 20_000
#: Signatures a second for requests with nonces and of unknown certificates, and how many at once.
ON_DEMAND_A_SECOND, ON_DEMAND_AT_ONCE = 200.0, 400

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    der: bytes
    #: "good", "revoked", "unknown", or why there is none: "malformed", "unauthorized", "try-later".
    outcome: str
    #: Ready to be sent.
    headers: Headers
    #: When it is to be made anew, as seconds since 1970. 0: it is not kept.
    stale: float = 0.0


#: Proxies keep an answer no longer, so that a revocation is seen within minutes.
MAX_AGE = timedelta(minutes=2)


def _headers(der: bytes, begin: datetime, until: datetime, now: datetime) -> Headers:
    """RFC 5019, 6.2."""
    age = min(MAX_AGE, until - now)
    return (
        (b"content-type", b"application/ocsp-response"),
        (b"content-length", b"%d" % len(der)),
        (b"cache-control", b"max-age=%d, public, no-transform, must-revalidate" % age.total_seconds()),
        (b"last-modified", format_datetime(begin, usegmt=True).encode()),
        (b"expires", format_datetime(until, usegmt=True).encode()),
        (b"etag", b'"%s"' % sha256(der).hexdigest().encode()),
    )


def _unsigned(status: OCSPResponseStatus, outcome: str) -> Answer:
    der = unsuccessful(status)
    return Answer(der=der, outcome=outcome, headers=_uncached(der))


def _uncached(der: bytes) -> Headers:
    return (
        (b"content-type", b"application/ocsp-response"),
        (b"content-length", b"%d" % len(der)),
        (b"cache-control", b"no-store"),
    )


MALFORMED = _unsigned(OCSPResponseStatus.MALFORMED_REQUEST, "malformed")
#: Of another CA (RFC 5019, 2.2.3).
UNAUTHORIZED = _unsigned(OCSPResponseStatus.UNAUTHORIZED, "unauthorized")
TRY_LATER = _unsigned(OCSPResponseStatus.TRY_LATER, "error")


class Responder:
    """Looked up by the event loop, filled by any thread: each dictionary is changed by single operations alone."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        #: By the bytes of a request without a nonce. What clients ask again and again.
        self.by_request: dict[bytes, Answer] = {}
        self._answers: dict[CertID, Answer] = {}
        self._delegates: dict[int, Delegate] = {}
        #: Issuer, by hash algorithm and two hashes.
        self._issuers: dict[tuple[str, bytes, bytes], int] = {}
        self._on_demand = Bucket(ON_DEMAND_A_SECOND, ON_DEMAND_AT_ONCE)
        #: Guards what a revocation must not miss: an answer that was signed before and kept after it.
        self._keeping = threading.Lock()
        self._revocations = 0
        self._presigned_until = b""
        with authority.turn:
            self._learn(delegate.stored(authority))
            authority.ledger.listeners.append(self._told)

    # -- Keeping its own certificates fresh; in the acting thread.

    def renew(self, authority: Authority) -> None:
        """Its certificates. Raises CAError."""
        try:
            self._learn(delegate.renew(authority, authority.clock()))
        except CAError:
            self._learn(delegate.stored(authority))
            raise

    def _learn(self, delegates: dict[int, Delegate]) -> None:
        self._delegates = delegates
        self._issuers = {
            (algorithm, *hashes_of(each.issuer.certificate, algorithm)): id
            for id, each in delegates.items()
            for algorithm in ALGORITHMS
        }

    def _told(self, entries: Sequence[Entry]) -> None:
        revoked = [
            int(msgspec.json.decode(each.data)["serial"], 16) for each in entries if each.kind == "revocation"
        ]
        if not revoked:
            return
        with self._keeping:
            self._revocations += 1
            for serial in revoked:
                for algorithm, name, key in self._issuers:
                    self._answers.pop(CertID(algorithm, name, key, serial), None)
            self.by_request.clear()

    def presign(self) -> None:
        """Some of what will be asked for, before it is: by turns all certificates that are in force."""
        now = self._authority.clock()
        lifetime = self._authority.settings.ocsp_lifetime.total_seconds()
        first = {
            id: (algorithm, name, key)
            for (algorithm, name, key), id in self._issuers.items()
            if algorithm == "sha1"  # what clients ask by (RFC 5019, 2.1.1)
        }
        rows = self._authority.readers.ask(
            lambda connection: connection.execute(
                "SELECT serial, issuer FROM certificates WHERE serial > ? AND not_after > ? AND state = 'issued'"
                " AND profile != 'ocsp-responder' ORDER BY serial LIMIT ?",
                (self._presigned_until, micros(now), LOOKED_AT_A_ROUND),
            ).fetchall()
        )
        left = PRESIGNED_A_ROUND
        for serial, issuer in rows:
            self._presigned_until = serial
            if issuer not in first:
                continue
            of = CertID(*first[issuer], int.from_bytes(serial, "big"))
            kept = self._answers.get(of)
            if kept is None or kept.stale - now.timestamp() < lifetime / 4:
                self._sign(issuer, of, None)
                left -= 1
                if not left:
                    return
        if len(rows) < LOOKED_AT_A_ROUND:
            self._presigned_until = b""

    # -- Answering.

    def kept(self, request: bytes, now: float) -> Answer | None:
        """Without any work: what was signed before. None: ask `answer`."""
        found = self.by_request.get(request)
        return found if found is not None and found.stale > now else None

    def ready(self, request: bytes, asked: Asked, now: float) -> Answer | None:
        """Without any signature. None: ask `signed`, in a thread."""
        of = asked.of
        if (of.algorithm, of.name_hash, of.key_hash) not in self._issuers:
            return UNAUTHORIZED
        if asked.nonce is not None:
            return None
        found = self._answers.get(of)
        if found is None or found.stale <= now:
            return None
        if len(self.by_request) >= MOST_KEPT:
            self.by_request.clear()
        with self._keeping:
            # Gone from there: it was revoked meanwhile.
            if self._answers.get(of) is found:
                self.by_request[request] = found
        return found

    def signed(self, asked: Asked) -> Answer:
        """Blocking. Raises nothing: what cannot be answered is TRY_LATER."""
        of = asked.of
        issuer = self._issuers.get((of.algorithm, of.name_hash, of.key_hash))
        if issuer is None:
            return UNAUTHORIZED
        if asked.nonce is not None and self._on_demand.take():
            return self._sign(issuer, of, asked.nonce)
        found = self._answers.get(of)
        if found is not None and found.stale > self._authority.clock().timestamp():
            return found
        return self._sign(issuer, of, None)

    def _sign(self, issuer: int, of: CertID, nonce: bytes | None) -> Answer:
        by = self._delegates[issuer]
        try:
            while True:
                before = self._revocations
                status = self._status(issuer, of.serial)
                if not status.known and nonce is None and not self._on_demand.take():
                    return TRY_LATER
                answer = self._made(by, of, status, nonce)
                with self._keeping:
                    if self._revocations != before and status.revoked is None:
                        # It may be of a state that has ended: looked up once more, which costs little.
                        if self._status(issuer, of.serial) != status:
                            continue
                    if answer.stale:
                        if len(self._answers) >= MOST_KEPT and of not in self._answers:
                            del self._answers[next(iter(self._answers))]
                        self._answers[of] = answer
                    return answer
        except CAError:
            return TRY_LATER

    def _status(self, issuer: int, serial: int) -> Status:
        if serial <= 0:
            return Status(known=False)
        rows = self._authority.readers.ask(
            lambda connection: connection.execute(
                "SELECT issuer, state, revoked, reason FROM certificates WHERE serial = ?",
                (serial_bytes(serial),),
            ).fetchall()
        )
        for of, state, revoked, reason in rows:
            if of == issuer and state in ("issued", "lost"):
                return Status(
                    known=True, revoked=instant(revoked) if revoked is not None else None, reason=reason
                )
        return Status(known=False)

    def _made(self, by: Delegate, of: CertID, status: Status, nonce: bytes | None) -> Answer:
        authority = self._authority
        now = authority.clock()
        der, until = make(
            of,
            status,
            by.certificate,
            now=now,
            lifetime=authority.settings.ocsp_lifetime,
            nonce=nonce,
            sign=lambda sign: authority.signing_by(by.key, by.certificate, by.issuer.name, "ocsp", sign),
        )
        if nonce is not None or not status.known:
            return Answer(der=der, outcome=status.word, headers=_uncached(der))
        begin = now.replace(microsecond=0)
        return Answer(
            der=der,
            outcome=status.word,
            headers=_headers(der, begin, until, now),
            stale=(begin + (until - begin) / 2).timestamp(),
        )
