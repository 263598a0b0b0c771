"""Asking OCSP responders, and remembering what they said for as long as it is good."""

import base64
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from cryptography import x509

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import Fetcher
from certwatch.doors.url import parse_web_address
from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Observation
from certwatch.pki import ocsp
from certwatch.pki.ocsp import OCSPAnswer
from certwatch.telemetry.metrics import OCSP_REQUESTS, OCSP_SECONDS
from certwatch.x509.der import read
from collectors.revocation.clocks import clock_facts
from collectors.revocation.profiles import Profiles
from collectors.revocation.statement import about, instant
from collectors.revocation.wanted import Wanted

#: Longer requests go by POST (RFC 5019, 5; RFC 6960, A.1).
MAX_GET = 255
MAX_BYTES = 64 << 10
#: Of a URL, in a location.
MAX_SHOWN = 500
#: Answers kept; the least recently used go first.
MOST_KEPT = 200_000
#: An answer without an end is asked for anew after so long.
WITHOUT_END = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: OCSPAnswer
    ask_again_at: datetime
    #: What the responder's clock said when it was asked, and the linter.
    clock: Mapping[str, Fact]


class Answers:
    """Owned by the event loop. Lives from scan to scan."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, str], _Kept] = OrderedDict()
        # By URL, the certificate whose answers are linted: one tells for all of a responder.
        self._linted: dict[str, bytes] = {}

    def is_linted(self, wanted: Wanted, url: str) -> bool:
        fingerprint = wanted.certificate.fingerprint_sha256
        return len(self._linted) < MOST_KEPT and self._linted.setdefault(url, fingerprint) == fingerprint

    def of(self, wanted: Wanted, url: str, now: datetime) -> _Kept | None:
        """None: there is none, or it is time to ask again: at half of its validity, as servers that staple do."""
        key = (wanted.certificate.fingerprint_sha256, url)
        kept = self._kept.get(key)
        if kept is None or kept.ask_again_at <= now:
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(
        self, wanted: Wanted, url: str, answer: OCSPAnswer, clock: Mapping[str, Fact], now: datetime
    ) -> None:
        end = answer.next_update or now + WITHOUT_END
        begin = answer.this_update or now
        again = max(begin + (end - begin) / 2, now + timedelta(minutes=1))
        self._kept[(wanted.certificate.fingerprint_sha256, url)] = _Kept(answer, again, clock)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


def ocsp_location(certificate: Certificate, url: str) -> LocationURI:
    """ "ocsp://ocsp.example.com/path?certificate=<SHA-256, hex>": what one responder says of one certificate."""
    # Whatever it is: a certificate's author wrote it.
    where = quote(url.partition("://")[2][:MAX_SHOWN] or url[:MAX_SHOWN], safe="/:[].")
    return LocationURI(f"ocsp://{where}?certificate={certificate.fingerprint_sha256.hex()}")


def known_host(url: str) -> str:
    """For metrics. Empty: it has none."""
    try:
        return parse_web_address(url).host
    except ValueError:
        return ""


async def ask(
    wanted: Wanted, url: str, fetcher: Fetcher, answers: Answers, profiles: Profiles, now: datetime
) -> Observation:
    """From memory where it is good for long enough yet; else from the responder. Never raises for what that does."""
    location = ocsp_location(wanted.certificate, url)
    remembered = answers.of(wanted, url, now)
    base = Observation(location=location, observed_at=now, labels=wanted.at.location.labels, scope="ocsp")
    # What its CA has revoked is asked about until the responder has heard of it.
    if remembered is not None and (wanted.revoked is None or remembered.answer.status == "revoked"):
        return replace(base, facts={**_facts(wanted, remembered.answer, None), **remembered.clock})
    try:
        body, answer, seconds, headers = await _asked(wanted, url, fetcher, now)
        if answer.fault == "stale":
            # By GET a cache on the way may have kept it; what is posted goes to the responder (RFC 5019, 6).
            body, answer, seconds, headers = await _asked(wanted, url, fetcher, now, cached=False)
    except LookFailed as failed:
        OCSP_REQUESTS.labels(known_host(url), failed.kind).inc()
        return replace(base, error=failed.error)
    responder = known_host(url)
    OCSP_SECONDS.labels(responder).observe(seconds)
    OCSP_REQUESTS.labels(responder, answer.fault or "ok").inc()
    clock = clock_facts(headers, now + timedelta(seconds=seconds))
    if answer.fault is None:
        if answers.is_linted(wanted, url):
            codes = await profiles.codes("ocsp", body)
            if codes:
                clock = {**clock, "ocsp_lints": codes}
        answers.keep(wanted, url, answer, clock, now)
    return replace(base, facts={**_facts(wanted, answer, seconds), **clock})


async def _asked(
    wanted: Wanted, url: str, fetcher: Fetcher, now: datetime, *, cached: bool = True
) -> tuple[bytes, OCSPAnswer, float, Mapping[str, str]]:
    """The answer as it came, and held against the certificate; what it took, and its headers. Raises LookFailed."""
    body, seconds, headers = await _exchange(wanted, url, fetcher, cached=cached)
    assert wanted.issuer is not None  # noqa: S101 - without it there is no question
    answer = ocsp.check(
        body,
        x509.load_der_x509_certificate(wanted.certificate.der),
        x509.load_der_x509_certificate(wanted.issuer.der),
        now,
    )
    return body, answer, seconds, headers


async def _exchange(
    wanted: Wanted, url: str, fetcher: Fetcher, *, cached: bool
) -> tuple[bytes, float, Mapping[str, str]]:
    issuer = wanted.issuer
    if issuer is None:
        raise LookFailed(
            "not-found",
            f"{url}: cannot be asked about {wanted.certificate.shown}: its issuer's certificate is seen nowhere. "
            "Serve the whole chain, or watch a file that holds it.",
        )
    try:
        request = ocsp.request(
            x509.load_der_x509_certificate(wanted.certificate.der), x509.load_der_x509_certificate(issuer.der)
        )
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise LookFailed(
            "malformed", f"{url}: no question can be made of {wanted.certificate.shown}: {str(error)[:200]}"
        ) from error
    by_get = url.rstrip("/") + "/" + quote(base64.b64encode(request), safe="")
    if cached and len(by_get) <= MAX_GET:
        fetched = await fetcher.get(by_get, max_bytes=MAX_BYTES)
    else:
        fetched = await fetcher.post(
            url, request, headers={"Content-Type": "application/ocsp-request"}, max_bytes=MAX_BYTES
        )
    return fetched.body, fetched.seconds, fetched.headers


def _facts(wanted: Wanted, answer: OCSPAnswer, seconds: float | None) -> dict[str, Fact]:
    delegate = None if answer.delegate is None else read(answer.delegate)
    facts: dict[str, Fact] = {
        **about(wanted),
        "revocation_status": answer.status if answer.fault is None else None,
        "revocation_reason": answer.reason,
        "revoked_at": instant(answer.revoked_at),
        "ocsp_fault": answer.fault,
        "ocsp_fault_text": answer.text or None,
        "ocsp_produced_at": instant(answer.produced_at),
        "ocsp_this_update": instant(answer.this_update),
        "ocsp_next_update": instant(answer.next_update),
        "ocsp_delegate_not_after": instant(delegate.not_after if delegate is not None else None),
        "ocsp_seconds": seconds,
    }
    return {name: value for name, value in facts.items() if value is not None}
