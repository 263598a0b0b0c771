"""EJBCA's REST API: `POST /v2/certificate/search` (modules/ejbca-rest-api of Keyfactor/ejbca-ce).

Instants are milliseconds since 1970, -1 for none; serial numbers hex; the certificate is base64 twice. The name of the
field with the instant of the last change has its letters transposed, in the server as in its documentation.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from urllib.parse import quote

import msgspec

from certwatch.doors.rest import Client, RequestFailed, decoded_as
from certwatch.model.observation import LookError
from certwatch.x509 import pem
from collectors.ca_database.ejbca_status import is_revoked
from collectors.ca_database.record import (
    NO_FACTS,
    Outcome,
    Pending,
    ReadFailed,
    Record,
    WentBack,
    of_epoch,
    reason_of,
    rfc3339,
    serial_of_hex,
)
from collectors.ca_database.rest.fetching import MOST_PAGES
from collectors.ca_database.values import to_der, to_instant

PAGE = 500
PATH = "/ejbca/ejbca-rest-api"
#: CAs whose certificates are read.
MOST_AUTHORITIES = 100
#: Read once more before the mark: the clocks of several nodes differ.
OVERLAP_MILLISECONDS = 300_000


class _Certificate(msgspec.Struct):
    fingerprint: str = ""
    serial: str = msgspec.field(default="", name="serialNumber")
    status: int = 0
    revoked_at: int = msgspec.field(default=-1, name="revocationDate")
    reason: int = msgspec.field(default=-1, name="revocationReason")
    changed: int = msgspec.field(default=0, name="udpateTime")
    # Should the name be put right one day.
    changed_too: int = msgspec.field(default=0, name="updateTime")
    username: str | None = None
    profile: str | None = msgspec.field(default=None, name="certificateProfile")
    profile_id: int | None = msgspec.field(default=None, name="certificateProfileId")
    body: str | None = msgspec.field(default=None, name="base64Cert")
    not_after: int = msgspec.field(default=0, name="expireDate")

    @property
    def updated(self) -> int:
        return max(self.changed, self.changed_too)


class _Summary(msgspec.Struct):
    total: int | None = msgspec.field(default=None, name="total_certs")


class _Page(msgspec.Struct):
    certificates: list[_Certificate] = []
    summary: _Summary | None = msgspec.field(default=None, name="pagination_summary")


class _Authority(msgspec.Struct):
    subject_dn: str = ""


class _Authorities(msgspec.Struct):
    found: list[_Authority] = msgspec.field(default_factory=list, name="certificate_authorities")


class EJBCARestSource:
    several = True
    facts = NO_FACTS

    def __init__(self, make: Callable[[], Client], oldest: datetime) -> None:
        self._make = make
        self._oldest = oldest
        self.authorities: tuple[bytes, ...] = ()

    def open(self, mark: str) -> "EJBCARestReading | None":
        try:
            client = self._make()
        except RequestFailed as failed:
            raise ReadFailed(failed.kind, failed.message) from failed
        try:
            self.authorities = _authorities(client)
            reading = EJBCARestReading(client, self._oldest, mark)
            if reading.is_new():
                return reading
        except RequestFailed as failed:
            client.close()
            raise _failed(failed) from failed
        except BaseException:
            client.close()
            raise
        client.close()
        return None


class EJBCARestReading:
    def __init__(self, client: Client, oldest: datetime, mark: str) -> None:
        self.whole = not mark
        self._client = client
        self._known, self._known_serial = _parsed(mark)
        # Newest first: what changes meanwhile moves to the front, and nothing behind it is passed over.
        since = (self._known - OVERLAP_MILLISECONDS) / 1000
        self._criterion = (
            {"property": "UPDATE_TIME", "operation": "AFTER", "value": rfc3339(of_epoch(since))}
            if mark
            else {"property": "EXPIRE_DATE", "operation": "AFTER", "value": rfc3339(oldest)}
        )
        self._first = self._page(1)
        newest = self._first.certificates[0] if self._first.certificates else None
        self._newest = (
            (newest.updated, newest.serial) if newest is not None else (self._known, self._known_serial)
        )
        if mark and (newest is None or newest.updated < self._known):
            raise WentBack(
                f"{client.where} was last changed at {newest.updated if newest is not None else 'no time'}, and had been "
                f"at {self._known}"
            )

    def is_new(self) -> bool:
        return self.whole or self._newest != (self._known, self._known_serial)

    def records(self) -> Iterator[Record]:
        number, page = 1, self._first
        try:
            while True:
                for each in page.certificates:
                    yield self._record(each)
                # Certificates that the server cannot read are left out of a page, and counted.
                if page.summary is None or page.summary.total != number * PAGE:
                    return
                number += 1
                if number > MOST_PAGES:
                    raise RequestFailed("malformed", f"{self._client.where}: more than {MOST_PAGES} pages")
                page = self._page(number)
        except RequestFailed as failed:
            raise _failed(failed) from failed

    def _page(self, number: int) -> _Page:
        answer = self._client.post(
            "/v2/certificate/search",
            {
                "pagination": {"page_size": PAGE, "current_page": number},
                "sort": {"property": "UPDATE_TIME", "operation": "DESC"},
                "criteria": [self._criterion],
            },
        )
        page = decoded_as(answer, _Page, self._client.where)
        if page.summary is None and not page.certificates and b'"certificates"' not in answer:
            # No list is no empty list, which would take all there was for gone.
            raise RequestFailed(
                "malformed", f"{self._client.where}: the answer has no list of certificates. See the URL"
            )
        return page

    def _record(self, found: _Certificate) -> Record:
        serial = serial_of_hex(found.serial)
        der, problem = _der(found.body or "", f"{self._client.where}: serial number {serial or '?'}")
        revoked = is_revoked(found.status, found.reason)
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else f"row-{found.fingerprint[:40]}",
            revoked=revoked,
            revoked_at=to_instant(found.revoked_at) if revoked else None,
            reason=reason_of(found.reason) if revoked else None,
            requester=found.username or None,
            profile=found.profile or (str(found.profile_id) if found.profile_id is not None else None),
            not_after=to_instant(found.not_after),
        )

    def mark(self) -> str:
        return json.dumps(self._newest) if self._newest[0] else ""

    def pending(self) -> Pending | None:
        return None

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None:
        self._client.close()


def _der(body: str, where: str) -> tuple[bytes | None, LookError | None]:
    try:
        return to_der(base64.b64decode(body, validate=True), where)
    except (binascii.Error, ValueError):
        return to_der(body, where)


def _authorities(client: Client) -> tuple[bytes, ...]:
    """Each CA's own certificate, DER. Who may not see them goes without."""
    found: list[bytes] = []
    try:
        listed = decoded_as(client.get("/v1/ca"), _Authorities, client.where).found
        for each in listed[:MOST_AUTHORITIES]:
            path = f"/v1/ca/{quote(each.subject_dn, safe='')}/certificate/download"
            blocks = [*pem.blocks(client.get(path, max_bytes=1 << 20))]
            found += [block.data for block in blocks[:1] if block.is_certificate and block.data]
    except RequestFailed as failed:
        if failed.status not in (403, 404):
            raise
    return tuple(dict.fromkeys(found))


def _failed(failed: RequestFailed) -> ReadFailed:
    help = {
        401: ". Give `token`, or `client_certificate` and `client_key`",
        403: ". Give its role access to REST Certificate Management and to the CAs",
        404: ". See that the REST protocol is enabled there, and `url`",
    }.get(failed.status, "")
    return ReadFailed(failed.kind, failed.message + help)


def _parsed(mark: str) -> tuple[int, str]:
    try:
        changed, serial = json.loads(mark)
        return int(changed), str(serial)
    except (ValueError, TypeError):
        return 0, ""
