"""`/certificates` and `/certificates/{fingerprint}`."""

import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from certwatch.expressions import ExpressionError
from certwatch.inventory.store import Entry, FindingQuery, InventoryError, Query, Reader
from certwatch.inventory.where import where_filter
from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.web.pages.page import ASKED_TOO_MUCH, Missing, Pages
from certwatch.web.render import query_path
from certwatch.web.reply import reply
from certwatch.x509 import pem

PER_PAGE = 50
SHOWN_NAMES = 10
#: Behind the disclosure.
MOST_NAMES = 5_000
SHOWN_PLACES = 200
SHOWN_FINDINGS = 200
RENEWALS = 8

STATES = (
    ("current", "not expired"),
    ("7d", "expires within 7 days"),
    ("30d", "expires within 30 days"),
    ("90d", "expires within 90 days"),
    ("expired", "expired"),
    ("all", "all"),
)
SORTS = (
    ("", "expiry"),
    ("-not_before", "newest"),
    ("subject", "subject"),
    ("issuer", "issuer"),
    ("-locations", "most locations"),
)
#: Characters of a field; longer ones are nobody's question.
MAX_FIELD = 2_000
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-fA-F]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The form, as it was sent."""

    q: str = ""
    where: str = ""
    owner: str = ""
    collector: str = ""
    issuer: str = ""
    state: str = "current"
    sort: str = ""
    #: The fingerprint after which the page goes on.
    after: str = ""


class Unasked(Exception):
    """The form makes no question. The message says why."""


def asked_of(request: Request) -> Asked:
    sent = request.query_params
    return Asked(**{each.name: sent[each.name].strip() for each in fields(Asked) if sent.get(each.name)})


def query_of(asked: Asked, now: datetime) -> Query:
    """Raises Unasked."""
    for each in fields(asked):
        if len(getattr(asked, each.name)) > MAX_FIELD:
            raise Unasked(f"{each.name}: longer than {MAX_FIELD} characters. Shorten it")
    if asked.state not in dict(STATES):
        raise Unasked(f"state: {asked.state!r} is none. Choose one of {', '.join(dict(STATES))}")
    if asked.sort not in dict(SORTS):
        raise Unasked(f"sort: {asked.sort!r} is none. Choose one of {', '.join(filter(None, dict(SORTS)))}")
    if asked.after and not FINGERPRINT.fullmatch(asked.after):
        raise Unasked("after: not a fingerprint. Begin again without it")
    try:
        where = where_filter(asked.where, now) if asked.where else None
    except ExpressionError as error:
        raise Unasked(f"Condition: {error.message}") from error
    days = {"7d": 7, "30d": 30, "90d": 90}.get(asked.state)
    return Query(
        text=asked.q or None,
        expires_after=None if asked.state in ("expired", "all") else now,
        expires_before=None if days is None else now + timedelta(days=days),
        expired_at=now if asked.state == "expired" else None,
        owner=asked.owner or None,
        collector=asked.collector or None,
        issuer=asked.issuer or None,
        sort=asked.sort.lstrip("-") or "not_after",  # type: ignore[arg-type]
        # Of the expired ones, those that expired last are looked for.
        descending=asked.sort.startswith("-") or (asked.state == "expired" and not asked.sort),
        # One more tells whether there are more.
        limit=PER_PAGE + 1,
        after=Fingerprint(bytes.fromhex(asked.after)) if asked.after else None,
        where=where,
    )


def pem_reply(certificate: Certificate) -> Response:
    name = certificate.fingerprint_sha256.hex()
    return reply(
        pem.encode(certificate.der).encode(),
        "application/x-pem-file",
        headers={
            "Content-Disposition": f'attachment; filename="{name[:16]}.pem"',
            "Cache-Control": "private, max-age=86400",
            "ETag": f'"{name}"',
        },
    )


class Certificates:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def list(self, request: Request) -> Response:
        now, asked = self._pages.site.clock(), asked_of(request)

        def ask(reader: Reader) -> tuple[str, dict[str, object], int]:
            values: dict[str, object] = {
                "asked": asked,
                "states": STATES,
                "sorts": SORTS,
                "per_page": PER_PAGE,
                "entries": (),
                "error": None,
                "more": None,
                "narrowed": asked != Asked(),
                "first": query_path("/certificates", **{**asdict(asked), "after": ""}),
                "everything": query_path("/certificates", **{**asdict(asked), "after": "", "state": "all"}),
            }
            try:
                entries = list(islice(reader.list(query_of(asked, now), now), PER_PAGE + 1))
            except Unasked as error:
                return "certificates.html", {**values, "error": str(error)}, 400
            except InventoryError as error:
                if error.kind not in ASKED_TOO_MUCH:
                    raise
                return "certificates.html", {**values, "error": error.message}, ASKED_TOO_MUCH[error.kind]
            shown = entries[:PER_PAGE]
            if len(entries) > PER_PAGE:
                after = shown[-1].certificate.fingerprint_sha256.hex()
                values["more"] = query_path("/certificates", **{**asdict(asked), "after": after})
            return "certificates.html", {**values, "entries": shown}, 200

        return await self._pages.show(request, ask)

    async def one(self, request: Request) -> Response:
        now, given = self._pages.site.clock(), request.path_params["fingerprint"]

        def ask(reader: Reader) -> tuple[str, dict[str, object], int]:
            entry = find(reader, given, now)
            certificate = entry.certificate
            query = FindingQuery(fingerprint=certificate.fingerprint_sha256, limit=SHOWN_FINDINGS)
            at = entry.places[0].location if entry.places else None
            served = reader.served(at) if at is not None else None
            return (
                "certificate.html",
                {
                    "entry": entry,
                    "findings": list(reader.findings(query)),
                    "chain": served.chain if served is not None else (),
                    "chain_at": at,
                    "renewals": _renewals(reader, certificate, now),
                    "shown_names": SHOWN_NAMES,
                    "most_names": MOST_NAMES,
                    "shown_places": SHOWN_PLACES,
                },
                200,
            )

        return await self._pages.show(request, ask)

    async def pem(self, request: Request) -> Response:
        now, given = self._pages.site.clock(), request.path_params["fingerprint"]
        try:
            entry = await self._pages.reads.ask(lambda reader: find(reader, given, now))
        except Missing as missing:
            title, detail, choices = missing.title, missing.detail, missing.choices

            def gone(reader: Reader) -> tuple[str, dict[str, object], int]:
                raise Missing(title, detail, choices=choices)

            return await self._pages.show(request, gone)
        except InventoryError as error:
            return self._pages.failed(request, error)
        return pem_reply(entry.certificate)


def find(reader: Reader, prefix: str, now: datetime) -> Entry:
    """Raises Missing."""
    found = list(reader.certificate(prefix, now)) if _PREFIX.fullmatch(prefix) else []
    if not found:
        raise Missing(
            "No such certificate",
            f"None has a fingerprint that begins with {prefix[:100]}. It may have been forgotten, as those are that"
            " nobody has served for long.",
        )
    if len(found) > 1:
        raise Missing("Which one?", f"Several fingerprints begin with {prefix}.", choices=found)
    return found[0]


def _renewals(reader: Reader, certificate: Certificate, now: datetime) -> list[Entry]:
    """Those of the same first name, the newest first."""
    if certificate.is_ca or not certificate.names:
        return []
    name = certificate.names[0].partition(":")[2]
    if not name or name.startswith("*") or len(name) > MAX_FIELD:
        return []
    query = Query(text=name, sort="not_before", descending=True, limit=RENEWALS * 4)
    same = (each for each in reader.list(query, now) if each.certificate.names[:1] == certificate.names[:1])
    return list(islice(same, RENEWALS))
