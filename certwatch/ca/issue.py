"""Issuing: intent on disk, signature, entry on disk, and only then an answer. Many at once share the two commits."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.authority import Authority, chain_pem
from certwatch.ca.certificate import Draft, Issuer, draft
from certwatch.ca.failure import CAError
from certwatch.ca.ledger import _Act, micros, row_digest
from certwatch.ca.names import check_allowed
from certwatch.ca.profiles import INTERNAL, Profile, profile_named
from certwatch.ca.request import Order
from certwatch.ca.signer import hash_for, rehearsal_key
from certwatch.telemetry.metrics import CA_REQUESTS

#: Above so many, signatures are made in several threads: the token's library lets go of the interpreter's lock.
PARALLEL = 16
THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    certificate: x509.Certificate
    #: As a server presents it.
    chain: bytes
    issuer: Issuer
    request: int | None = None

    @property
    def serial(self) -> str:
        """Hex, whole bytes."""
        return serial_bytes(self.certificate.serial_number).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    order: Order
    request: int | None
    profile: Profile
    issuer: Issuer
    draft: Draft
    tbs: bytes
    lint: str

    @property
    def serial(self) -> bytes:
        return serial_bytes(self.draft.serial)


def serial_bytes(serial: int) -> bytes:
    return serial.to_bytes(max(16, (serial.bit_length() + 7) // 8), "big")


def issue(authority: Authority, orders: Sequence[tuple[Order, int | None]]) -> list["Certified | CAError"]:
    """Orders that nobody has to approve any more, each with its request's id (None: it has none yet, and gets one).
    Answers in the same order; one that is refused stops no other. Raises CAError when nothing could be written."""
    with authority.turn:
        # Whose entry could not be written: nobody else has intents now.
        authority.settle_interrupted()
        prepared: list[_Prepared | CAError] = []
        issuers: dict[tuple[str | None, str], Issuer] = {}
        for order, request in orders:
            try:
                prepared.append(_prepare(authority, order, request, issuers))
            except CAError as error:
                prepared.append(error)
        authority.step("drafted")
        with authority.act() as act:
            requests = _write_intents(act, orders, prepared)
        authority.step("intended")
        signed = _sign_all(authority, prepared)
        authority.step("signed")
        with authority.act() as act:
            _write_certificates(act, prepared, signed, requests)
        authority.step("recorded")
    answers: list[Certified | CAError] = []
    for each, result, request in zip(prepared, signed, requests, strict=True):
        if isinstance(result, CAError) or isinstance(each, CAError):
            answers.append(result if isinstance(result, CAError) else each)  # type: ignore[arg-type]
        else:
            chain = chain_pem(result, each.issuer)
            answers.append(Certified(certificate=result, chain=chain, issuer=each.issuer, request=request))
    for (order, _), answer in zip(orders, answers, strict=True):
        outcome = answer.kind if isinstance(answer, CAError) else "ok"
        known = order.profile in authority.settings.profiles or order.channel == "ca"
        CA_REQUESTS.labels(order.profile if known else "", order.channel, outcome).inc()
    return answers


def check(authority: Authority, order: Order) -> Profile:
    """What can be said against an order before anybody looks at it. Raises CAError."""
    profile = _profile(authority, order)
    check_allowed(order.names, profile, order.requester, local=order.is_local)
    draft(
        order,
        profile,
        _issuer_for(authority, order, profile),
        authority.settings.addresses,
        authority.clock(),
        partition=authority.partition,
    )
    return profile


def _profile(authority: Authority, order: Order) -> Profile:
    if order.channel == "ca" and order.profile in INTERNAL:
        return INTERNAL[order.profile]
    return profile_named(authority.settings.profiles, order.profile)


def _prepare(
    authority: Authority, order: Order, request: int | None, issuers: dict[tuple[str | None, str], Issuer]
) -> _Prepared:
    profile = _profile(authority, order)
    check_allowed(order.names, profile, order.requester, local=order.is_local)
    wanted = (order.issuer, profile.name)
    if wanted not in issuers:
        issuers[wanted] = _issuer_for(authority, order, profile)
    issuer = issuers[wanted]
    made = draft(
        order,
        profile,
        issuer,
        authority.settings.addresses,
        authority.clock(),
        partition=authority.partition,
    )
    rehearsed = rehearse(made, issuer.certificate.public_key())
    lint = authority.lint.check(rehearsed.public_bytes(Encoding.DER)) if profile.usage != "ocsp" else "none"
    return _Prepared(
        order=order,
        request=request,
        profile=profile,
        issuer=issuer,
        draft=made,
        tbs=rehearsed.tbs_certificate_bytes,
        lint=lint,
    )


def _issuer_for(authority: Authority, order: Order, profile: Profile) -> Issuer:
    if order.issuer is None and profile.is_ca:
        roots = [each for each in authority.issuers() if each.kind == "root"]
        if roots:
            return roots[-1]
    if order.channel == "ca":
        # A retired one still answers for what it made.
        return authority.issuer(order.issuer, retired=order.issuer is not None)
    return authority.issuer(order.issuer, environment=profile.environment)


def rehearse(made: Draft, public: object) -> x509.Certificate:
    return made.builder.sign(rehearsal_key(public), hash_for(public))  # type: ignore[arg-type]


def _write_intents(
    act: _Act, orders: Sequence[tuple[Order, int | None]], prepared: Sequence[_Prepared | CAError]
) -> list[int | None]:
    """Returns the requests' ids."""
    requests: list[int | None] = []
    for (order, request), each in zip(orders, prepared, strict=True):
        if isinstance(each, CAError):
            if request is not None:
                act.connection.execute("UPDATE requests SET state = 'refused' WHERE id = ?", (request,))
            act.append(
                "refusal", [{**said_of(order), "request": request, "reason": each.kind, "why": each.message}]
            )
        elif request is None:
            request = enter(act, order, needed=0)
        requests.append(request)
    good = [
        (each, request)
        for each, request in zip(prepared, requests, strict=True)
        if not isinstance(each, CAError)
    ]
    rows = [
        (
            each.serial,
            each.issuer.id,
            request,
            each.profile.name,
            each.order.requester,
            " ".join(each.order.names),
            each.draft.shard,
            micros(each.draft.not_before),
            micros(each.draft.not_after),
            bytes.fromhex(each.order.replaces) if each.order.replaces else None,
        )
        for each, request in good
    ]
    act.connection.executemany(
        "INSERT INTO certificates (serial, issuer, request, profile, requester, names, shard, not_before, not_after,"
        " state, replaces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'intended', ?)",
        rows,
    )
    act.connection.executemany(
        "INSERT INTO shards VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET certificates = certificates + excluded.certificates",
        [
            (*key, count)
            for key, count in Counter((each.issuer.id, each.draft.shard) for each, _ in good).items()
        ],
    )
    act.append(
        "intent",
        [
            {
                "serial": each.serial.hex(),
                "request": request,
                "issuer": each.issuer.name,
                "profile": each.profile.name,
                "names": each.order.names,
                "not_after": micros(each.draft.not_after),
                "tbs_sha256": hashlib.sha256(each.tbs).hexdigest(),
                "lint": each.lint,
                "row": row_digest(row[1], row[6], *row[2:6], *row[7:]),
            }
            for (each, request), row in zip(good, rows, strict=True)
        ],
    )
    return requests


def enter(act: _Act, order: Order, *, needed: int) -> int:
    """Write down a request for which `needed` people must approve: its number. 0: it may be issued."""
    row = (
        needed,
        act.instant,
        order.channel,
        order.requester,
        order.submitter,
        order.profile,
        order.encoded(),
    )
    cursor = act.connection.execute(
        "INSERT INTO requests (needed, at, channel, requester, submitter, profile, wanted, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, "waiting" if needed else "approved"),
    )
    request = int(cursor.lastrowid or 0)
    act.append(
        "request", [{**said_of(order), "request": request, "approvals": needed, "row": row_digest(*row)}]
    )
    return request


def said_of(order: Order) -> dict[str, object]:
    """Of an order, what the ledger has."""
    return {
        "channel": order.channel,
        "requester": order.requester,
        "submitter": order.submitter,
        "profile": order.profile,
        "names": order.names[:100],
        "subject": [f"{short}={value}" for short, value in order.subject],
        "key_sha256": hashlib.sha256(order.public_key).hexdigest(),
    }


def _sign_all(
    authority: Authority, prepared: Sequence[_Prepared | CAError]
) -> list["x509.Certificate | CAError"]:
    def sign(each: _Prepared | CAError) -> x509.Certificate | CAError:
        if isinstance(each, CAError):
            return each
        try:
            return _sign(authority, each)
        except CAError as error:
            return error

    if len(prepared) < PARALLEL:
        return [sign(each) for each in prepared]
    with ThreadPoolExecutor(THREADS) as pool:
        size = -(-len(prepared) // THREADS)
        parts = [prepared[start : start + size] for start in range(0, len(prepared), size)]
        return [each for part in pool.map(lambda part: [sign(one) for one in part], parts) for each in part]


def _sign(authority: Authority, each: _Prepared) -> x509.Certificate:
    algorithm = hash_for(each.issuer.certificate.public_key())
    made: x509.Certificate = authority.signing(
        each.issuer, "certificate", lambda key: each.draft.builder.sign(key, algorithm)
    )
    if made.tbs_certificate_bytes != each.tbs:
        raise CAError("other", "what was signed is not what was written down before. Nothing was released")
    return made


def _write_certificates(
    act: _Act,
    prepared: Sequence[_Prepared | CAError],
    signed: Sequence["x509.Certificate | CAError"],
    requests: Sequence[int | None],
) -> None:
    issued, entries, failed = [], [], []
    for each, result, request in zip(prepared, signed, requests, strict=True):
        if isinstance(each, CAError):
            continue
        if isinstance(result, CAError):
            failed.append({"serial": each.serial.hex(), "request": request, "reason": result.kind})
            continue
        der = result.public_bytes(Encoding.DER)
        issued.append((der, each.serial))
        entries.append(
            {"serial": each.serial.hex(), "request": request, "sha256": hashlib.sha256(der).hexdigest()}
        )
    act.connection.executemany("UPDATE certificates SET state = 'issued', der = ? WHERE serial = ?", issued)
    act.connection.executemany(
        "UPDATE requests SET state = 'issued' WHERE id = ?", [(each["request"],) for each in entries]
    )
    act.connection.executemany(
        "UPDATE certificates SET state = 'failed' WHERE serial = ?",
        [(bytes.fromhex(str(each["serial"])),) for each in failed],
    )
    act.append("certificate", entries)
    act.append("failure", failed)
