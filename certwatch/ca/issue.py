"""Issuing: intent on disk, signature, entry on disk, and only then an answer. Many at once share the two commits."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.assembled import assembled, signature_over
from certwatch.ca.authority import Authority, chain_pem
from certwatch.ca.certificate import Draft, Issuer, draft
from certwatch.ca.failure import CAError
from certwatch.ca.lint import form_of
from certwatch.ca.names import check_allowed
from certwatch.ca.profiles import INTERNAL, Profile, profile_named
from certwatch.ca.records import Failed, Prepared, Signed, write_certificates, write_intents
from certwatch.ca.request import Order, load_public
from certwatch.ca.signer import hash_for, rehearsal_key
from certwatch.telemetry.metrics import CA_REQUESTS

#: Above so many, signatures are made in several threads: the token's library lets go of the interpreter's lock.
PARALLEL = 16
THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    certificate: x509.Certificate
    issuer: Issuer
    request: int | None = None

    @property
    def chain(self) -> bytes:
        """As a server presents it."""
        return chain_pem(self.certificate, self.issuer)

    @property
    def serial(self) -> str:
        """Hex, whole bytes."""
        return serial_bytes(self.certificate.serial_number).hex()


@dataclass(slots=True)
class _Round:
    """What is looked up once for all orders that come together."""

    authority: Authority
    now: datetime
    issuers: dict[tuple[str | None, str], Issuer] = field(default_factory=dict)
    #: Of an issuer: its newest CRL, and how many certificates that has.
    lists: dict[int, tuple[int, int]] = field(default_factory=dict)

    def issuer(self, order: Order, profile: Profile) -> Issuer:
        wanted = (order.issuer, profile.name)
        if wanted not in self.issuers:
            self.issuers[wanted] = _issuer_for(self.authority, order, profile)
        return self.issuers[wanted]

    def partition(self, issuer: Issuer, serial: int) -> int:
        """Which CRL a new certificate belongs to: with `crl_partitions` by its serial number, else the newest one, and a new
        one when that has many."""
        addresses = self.authority.settings.addresses
        if addresses.partitions > 1:
            return serial % addresses.partitions
        if issuer.id not in self.lists:
            self.lists[issuer.id] = self.authority.newest_list(issuer)
        last, certificates = self.lists[issuer.id]
        if certificates >= addresses.most_in_partition:
            last, certificates = last + 1, 0
        self.lists[issuer.id] = (last, certificates + 1)
        return last


def serial_bytes(serial: int) -> bytes:
    return serial.to_bytes(max(16, (serial.bit_length() + 7) // 8), "big")


def issue(authority: Authority, orders: Sequence[tuple[Order, int | None]]) -> list["Certified | CAError"]:
    """Orders that nobody has to approve any more, each with its request's id (None: it has none yet, and gets one).
    Answers in the same order; one that is refused stops no other. Raises CAError when nothing could be written."""
    with authority.turn:
        # Whose entry could not be written: nobody else has intents now.
        authority.settle_interrupted()
        of_all = _Round(authority, authority.clock())
        prepared: list[tuple[Prepared, x509.Certificate] | CAError] = []
        for order, request in orders:
            try:
                prepared.append(_prepare(of_all, order, request))
            except CAError as error:
                prepared.append(error)
        authority.step("drafted")
        with authority.act() as act:
            requests = write_intents(
                act, orders, [each if isinstance(each, CAError) else each[0] for each in prepared]
            )
        authority.step("intended")
        results = _sign_all(authority, prepared)
        authority.step("signed")
        signed, failed = list[Signed](), list[Failed]()
        for each, result, request in zip(prepared, results, requests, strict=True):
            if isinstance(each, CAError) or request is None:
                continue
            if isinstance(result, CAError):
                failed.append(Failed(prepared=each[0], request=request, error=result))
            else:
                signed.append(Signed(prepared=each[0], request=request, der=result[1]))
        with authority.act() as act:
            write_certificates(act, signed, failed)
        authority.step("recorded")
    answers: list[Certified | CAError] = []
    for each, result, request in zip(prepared, results, requests, strict=True):
        if isinstance(result, CAError) or isinstance(each, CAError):
            answers.append(result if isinstance(result, CAError) else each)  # type: ignore[arg-type]
        else:
            answers.append(Certified(certificate=result[0], issuer=each[0].issuer, request=request))
    _count(authority, orders, answers)
    return answers


def _count(
    authority: Authority, orders: Sequence[tuple[Order, int | None]], answers: Sequence[Certified | CAError]
) -> None:
    outcomes = Counter(
        (
            order.profile if order.profile in authority.settings.profiles or order.channel == "ca" else "",
            order.channel,
            answer.kind if isinstance(answer, CAError) else "ok",
        )
        for (order, _), answer in zip(orders, answers, strict=True)
    )
    for labels, count in outcomes.items():
        CA_REQUESTS.labels(*labels).inc(count)


def check(authority: Authority, order: Order) -> Profile:
    """What can be said against an order before anybody looks at it. Raises CAError."""
    of_all = _Round(authority, authority.clock())
    profile = _profile(authority, order)
    _draft(of_all, order, profile)
    return profile


def _profile(authority: Authority, order: Order) -> Profile:
    if order.channel == "ca" and order.profile in INTERNAL:
        return INTERNAL[order.profile]
    return profile_named(authority.settings.profiles, order.profile)


def _draft(of_all: _Round, order: Order, profile: Profile) -> tuple[Issuer, Draft]:
    check_allowed(order.names, profile, order.requester, local=order.is_local)
    issuer = of_all.issuer(order, profile)
    made = draft(
        order,
        profile,
        issuer,
        of_all.authority.settings.addresses,
        of_all.now,
        partition=of_all.partition,
    )
    return issuer, made


def _prepare(of_all: _Round, order: Order, request: int | None) -> tuple[Prepared, x509.Certificate]:
    """With the rehearsal: the same but for its signature. Raises CAError."""
    authority, profile = of_all.authority, _profile(of_all.authority, order)
    issuer, made = _draft(of_all, order, profile)
    rehearsed = rehearse(made, issuer.certificate.public_key())
    serial = serial_bytes(made.serial)
    lint = "none"
    if profile.usage != "ocsp":
        lint = authority.lint.check_form(
            lambda: form_of(
                order, profile, issuer, authority.settings.addresses, made, load_public(order.public_key)
            ),
            serial.hex(),
            lambda: rehearsed.public_bytes(Encoding.DER),
        )
    prepared = Prepared(
        order=order,
        request=request,
        profile=profile,
        issuer=issuer,
        draft=made,
        tbs=rehearsed.tbs_certificate_bytes,
        lint=lint,
        serial=serial,
    )
    return prepared, rehearsed


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


_Result = tuple[x509.Certificate, bytes] | CAError


def _sign_all(
    authority: Authority, prepared: Sequence[tuple[Prepared, x509.Certificate] | CAError]
) -> list[_Result]:
    """What was signed, with its DER."""

    def sign(each: tuple[Prepared, x509.Certificate] | CAError) -> _Result:
        if isinstance(each, CAError):
            return each
        what, rehearsed = each
        try:
            signature: bytes = authority.signing(
                what.issuer, "certificate", lambda key: signature_over(what.tbs, key)
            )
            return assembled(rehearsed, what.tbs, signature)
        except CAError as error:
            return error

    if len(prepared) < PARALLEL:
        return [sign(each) for each in prepared]
    size = -(-len(prepared) // THREADS)
    parts = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    done = _pool().map(lambda part: [sign(one) for one in part], parts)
    return [each for part in done for each in part]


_pools = threading.local()


def _pool() -> ThreadPoolExecutor:
    """Of the acting thread: kept, since threads that are made anew find the sessions of others taken."""
    if not hasattr(_pools, "pool"):
        _pools.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="certwatch-ca-sign")
    return _pools.pool  # type: ignore[no-any-return]
