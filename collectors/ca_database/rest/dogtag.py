"""Dogtag's REST API: `POST /ca/v2/certs/search` for what there is, `GET /ca/v2/certs/ID` for each certificate itself
(dogtagpki/pki, base/common: CertSearchRequest, CertDataInfo, CertData).

Instants are milliseconds since 1970; serial numbers hex with 0x. Names of fields are written in two ways by its versions.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from certwatch.doors.rest import Client, RequestFailed, decoded_as
from certwatch.x509 import pem
from collectors.ca_database.record import (
    NO_FACTS,
    Outcome,
    Pending,
    ReadFailed,
    Record,
    WentBack,
    of_epoch,
    reason_of,
    serial_of_hex,
)
from collectors.ca_database.rest.fetching import MOST_PAGES, fetched
from collectors.ca_database.values import to_der, to_instant

PAGE = 500
_REVOKED = frozenset(("REVOKED", "REVOKED_EXPIRED"))
#: Read once more before the mark.
OVERLAP_MILLISECONDS = 300_000
#: Requests that wait, as far as they are counted one by one.
MOST_PENDING = 1000

Fields = Mapping[str, Any]


class _Entries(msgspec.Struct):
    # None: what is written for an empty list.
    entries: list[dict[str, Any]] | None = None
    total: int | None = None


class DogtagSource:
    several = False
    facts = NO_FACTS

    def __init__(self, make: Callable[[], Client], oldest: datetime, *, agent: bool) -> None:
        """`agent`: it logs in with a certificate, and may see what waits."""
        self._make = make
        self._oldest = oldest
        self._agent = agent
        self.authorities: tuple[bytes, ...] = ()

    def open(self, mark: str) -> "DogtagReading":
        try:
            client = self._make()
        except RequestFailed as failed:
            raise ReadFailed(failed.kind, failed.message) from failed
        try:
            self.authorities = _authorities(client)
            return DogtagReading(client, self._oldest, mark, agent=self._agent)
        except RequestFailed as failed:
            client.close()
            raise _failed(failed) from failed
        except BaseException:
            client.close()
            raise


class DogtagReading:
    def __init__(self, client: Client, oldest: datetime, mark: str, *, agent: bool) -> None:
        self.whole = not mark
        self._client = client
        self._agent = agent
        self._last, self._witness = _parsed(mark)
        self._searches: list[dict[str, Any]] = [
            {"validNotAfterInUse": True, "validNotAfterFrom": _milliseconds(oldest)}
        ]
        if mark:
            self._see_witness()
            since = str(self._last - OVERLAP_MILLISECONDS)
            self._searches = [
                {"issuedOnInUse": True, "issuedOnFrom": since},
                {"revokedOnInUse": True, "revokedOnFrom": since},
            ]

    def _see_witness(self) -> None:
        """Raises WentBack: the last certificate that was read is not there."""
        if not self._witness:
            return
        try:
            self._client.get(f"/ca/v2/certs/{quote(self._witness, safe='')}")
        except RequestFailed as failed:
            if failed.status != 404:
                raise
            raise WentBack(f"{self._client.where} has no certificate {self._witness} any more") from failed

    def records(self) -> Iterator[Record]:
        try:
            for found, said in fetched(self._found(), self._fetch):
                yield self._record(found, said)
        except RequestFailed as failed:
            raise _failed(failed) from failed

    def _found(self) -> Iterator[Fields]:
        told: set[str] = set()
        for search in self._searches:
            for start in range(0, MOST_PAGES * PAGE, PAGE):
                page = decoded_as(
                    self._client.post(
                        "/ca/v2/certs/search", search, {"start": str(start), "size": str(PAGE)}
                    ),
                    _Entries,
                    self._client.where,
                )
                entries = page.entries or []
                if self.whole and start == 0 and page.entries is None and page.total is None:
                    # No list is no empty list, which would take all there was for gone.
                    raise RequestFailed(
                        "malformed",
                        f"{self._client.where}: the answer has no list of certificates. See the URL",
                    )
                for each in entries:
                    fields = {name.lower(): value for name, value in each.items()}
                    id = str(fields.get("id", ""))
                    # What was issued and revoked since is found twice.
                    if not self.whole and id in told:
                        continue
                    if not self.whole:
                        told.add(id)
                    yield fields
                # What cannot be read is left out of a page: a short one need not be the last.
                if not entries:
                    break
            else:
                raise RequestFailed("malformed", f"{self._client.where}: more than {MOST_PAGES} pages")

    def _fetch(self, found: Fields) -> Fields:
        id = str(found.get("id", ""))
        said = decoded_as(
            self._client.get(f"/ca/v2/certs/{quote(id, safe='')}"), dict[str, Any], self._client.where
        )
        return {name.lower(): value for name, value in said.items()}

    def _record(self, found: Fields, said: Fields) -> Record:
        id = str(found.get("id", ""))
        serial = serial_of_hex(id)
        der, problem = to_der(said.get("encoded"), f"{self._client.where}: certificate {id[:80]}")
        revoked = str(found.get("status", "")).upper() in _REVOKED
        revoked_at = to_instant(found.get("revokedon") or said.get("revokedon")) if revoked else None
        self._note(id, found.get("issuedon"), found.get("revokedon"))
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else f"id-{id[:40]}",
            revoked=revoked,
            revoked_at=revoked_at,
            reason=reason_of(said.get("revocationreason")) if revoked else None,
            requester=str(found["issuedby"]) if found.get("issuedby") else None,
            not_after=to_instant(found.get("notvalidafter")),
        )

    def _note(self, id: str, issued: object, revoked: object) -> None:
        for each in (issued, revoked):
            if isinstance(each, int) and each > self._last:
                self._last = each
                if each is issued:
                    self._witness = id

    def mark(self) -> str:
        return json.dumps([self._last, self._witness]) if self._last else ""

    def pending(self) -> Pending | None:
        if not self._agent:
            return None
        try:
            answer = self._client.get(
                "/ca/v2/agent/certrequests",
                {"requestState": "pending", "start": "0", "pageSize": str(MOST_PENDING)},
            )
        except RequestFailed as failed:
            # An account that may read certificates need not be an agent.
            if failed.status in (401, 403, 404):
                return None
            raise _failed(failed) from failed
        page = decoded_as(answer, _Entries, self._client.where)
        entries = page.entries or []
        # Of a request only its number is told, not since when it waits; numbers grow.
        numbers = [each for each in map(_number, entries) if each is not None]
        oldest = str(min(numbers)) if numbers else ""
        return Pending(count=max(page.total or 0, len(entries)), since=None, oldest=oldest)

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None:
        self._client.close()


def _number(request: Fields) -> int | None:
    """Of a request, which its URL ends with; newer versions say it by itself. None: neither can be read."""
    said = {name.lower(): value for name, value in request.items()}
    id = str(said.get("requestid") or str(said.get("requesturl") or "").rpartition("/")[2])[:80]
    try:
        return int(id, 16 if id.lower().startswith("0x") else 10)
    except ValueError:
        return None


def _authorities(client: Client) -> tuple[bytes, ...]:
    """The CA's own certificate, DER. A version without that answer: none."""
    try:
        said = decoded_as(client.get("/ca/v2/config/cert/signing"), dict[str, Any], client.where)
    except RequestFailed as failed:
        if failed.status in (401, 403, 404):
            return ()
        raise
    encoded = next((str(value) for name, value in said.items() if name.lower() == "encoded"), "")
    return tuple(each.data for each in pem.blocks(encoded.encode()) if each.is_certificate and each.data)


def _milliseconds(at: datetime) -> str:
    return str(int(at.astimezone(UTC).timestamp() * 1000))


def _failed(failed: RequestFailed) -> ReadFailed:
    help = {
        401: ". Give client_certificate and client_key",
        403: ". Give client_certificate and client_key of somebody who may list certificates",
        404: ". See `url`: versions before 11.6 have no /ca/v2",
    }.get(failed.status, "")
    return ReadFailed(failed.kind, failed.message + help)


def _parsed(mark: str) -> tuple[int, str]:
    try:
        last, witness = json.loads(mark)
        return (int(last), str(witness)) if of_epoch(int(last) / 1000) is not None else (0, "")
    except (ValueError, TypeError):
        return 0, ""
