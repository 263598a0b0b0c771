"""The operations: what each is asked with, what it answers. Routes and document are both made of `OPERATIONS`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from certwatch.engine.known_rules import rule_explained, rule_listed
from certwatch.expressions import ExpressionError
from certwatch.inventory.shapes import (
    CertificateShown,
    FindingJSON,
    LocationJSON,
    RuleExplained,
    certificate_shown,
    entry_json,
    finding_json,
    location_json,
)
from certwatch.inventory.store import Entry, FindingQuery, Query, Reader
from certwatch.inventory.where import where_filter
from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import FindingID
from certwatch.model.location import LocationURI
from certwatch.web.api.answers import (
    CertificatesAnswer,
    CollectorsAnswer,
    FindingsAnswer,
    RulesAnswer,
    StatusAnswer,
    collectors_answer,
    status_answer,
)
from certwatch.web.api.parameters import (
    FINGERPRINT,
    BadParameters,
    CertificatesAsked,
    FindingsAsked,
    Nothing,
    Parameters,
)
from certwatch.web.site import Site
from certwatch.web.status import Status

#: Of one answer: an issuer may be at a thousand places.
MAX_PLACES = 5_000
#: Of one location or certificate.
MAX_FINDINGS = 1_000
_MOST_ID = 2**63 - 1


class NotThere(Exception):
    """The path names nothing. The message says what was not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathParameter:
    description: str
    schema: Mapping[str, Any]
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`GET path`. Of `answer` and `overview` one is set."""

    id: str
    #: Below /api/v1, as OpenAPI writes it.
    path: str
    summary: str
    answers: type
    asked: type[Parameters] = Nothing
    path_parameters: Mapping[str, PathParameter] = field(default_factory=dict)
    #: In a thread, with a reader: (site, reader, asked, path parameters). Raises NotThere, BadParameters.
    answer: Callable[[Site, Reader, Any, Mapping[str, str]], Any] | None = None
    #: From what is read for the overview and shown for a few seconds.
    overview: Callable[[Site, Status], Any] | None = None


def _certificates(
    site: Site, reader: Reader, asked: CertificatesAsked, path: Mapping[str, str]
) -> CertificatesAnswer:
    now = site.clock()
    then = asked.at or now
    try:
        where = where_filter(asked.where, then) if asked.where is not None else None
    except ExpressionError as error:
        raise BadParameters(f"where: {error.message}") from error
    try:
        expires_before = then + asked.expiring_in if asked.expiring_in is not None else None
    except OverflowError as error:
        raise BadParameters("at, expiring_in: beyond the calendar's end") from error
    query = Query(
        text=asked.q,
        expires_before=expires_before,
        expires_after=then if asked.expiring_in is not None else None,
        expired_at=then if asked.expired else None,
        owner=asked.owner,
        collector=asked.collector,
        issuer=asked.issuer,
        at=asked.at,
        sort=asked.sort,
        descending=asked.reverse,
        limit=asked.limit + 1,
        after=Fingerprint(bytes.fromhex(asked.cursor)) if asked.cursor is not None else None,
        where=where,
    )
    entries: list[Entry] = []
    places, more = 0, False
    for entry in reader.list(query, now):
        places += len(entry.places)
        if entries and (places > MAX_PLACES or len(entries) == asked.limit):
            more = True
            break
        entries.append(entry)
    return {
        "certificates": [entry_json(each) for each in entries],
        "next": entries[-1].certificate.fingerprint_sha256.hex() if more else None,
    }


def _certificate(site: Site, reader: Reader, asked: Nothing, path: Mapping[str, str]) -> CertificateShown:
    entry = find(site, reader, path["fingerprint"])
    query = FindingQuery(fingerprint=entry.certificate.fingerprint_sha256, limit=MAX_FINDINGS)
    return certificate_shown(entry, list(reader.findings(query)))


def find(site: Site, reader: Reader, prefix: str) -> Entry:
    """Raises NotThere, BadParameters."""
    if not re.fullmatch(FINGERPRINT, prefix):
        raise BadParameters("a fingerprint is 64 hex digits (SHA-256); 8 of its first ones may do")
    found = reader.certificate(prefix, site.clock())
    if not found:
        raise NotThere(f"no certificate has a fingerprint that begins with {prefix}")
    if len(found) > 1:
        raise NotThere(
            f"{len(found)} certificates have a fingerprint that begins with {prefix}. Give more of it"
        )
    return found[0]


def _location(site: Site, reader: Reader, asked: Nothing, path: Mapping[str, str]) -> LocationJSON:
    uri = LocationURI(path["uri"])
    served = reader.served(uri)
    if served is None:
        raise NotThere(f"{uri[:500]}: never seen")
    findings = islice(reader.findings(FindingQuery(location=uri, limit=MAX_FINDINGS)), MAX_FINDINGS)
    return location_json(served, reader.history(uri), list(findings))


def _findings(site: Site, reader: Reader, asked: FindingsAsked, path: Mapping[str, str]) -> FindingsAnswer:
    query = FindingQuery(
        severity=asked.severity,
        rule=asked.rule,
        owner=asked.owner,
        location=LocationURI(asked.location) if asked.location is not None else None,
        fingerprint=Fingerprint(bytes.fromhex(asked.fingerprint)) if asked.fingerprint is not None else None,
        all=asked.all,
        limit=asked.limit + 1,
        after=FindingID(asked.cursor) if asked.cursor is not None else None,
    )
    found = list(reader.findings(query))
    shown = found[: asked.limit]
    return {
        "findings": [finding_json(each) for each in shown],
        "next": shown[-1].id if len(found) > len(shown) else None,
    }


def _finding(site: Site, reader: Reader, asked: Nothing, path: Mapping[str, str]) -> FindingJSON:
    text = path["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= _MOST_ID):
        raise BadParameters("a finding's id is a whole number")
    finding = reader.finding(FindingID(int(text)))
    if finding is None:
        raise NotThere(f"there is no finding {int(text)}")
    return finding_json(finding)


def _rules(site: Site, reader: Reader, asked: Nothing, path: Mapping[str, str]) -> RulesAnswer:
    return {"rules": [rule_listed(each) for each in site.rules]}


def _rule(site: Site, reader: Reader, asked: Nothing, path: Mapping[str, str]) -> RuleExplained:
    for each in site.rules:
        if each.rule.id == path["id"]:
            return rule_explained(each)
    raise NotThere(f"no rule is called {path['id'][:100]}")


OPERATIONS = (
    Operation(
        id="listCertificates",
        path="/certificates",
        summary="Certificates of the inventory, as `certwatch list --json`",
        asked=CertificatesAsked,
        answers=CertificatesAnswer,
        answer=_certificates,
    ),
    Operation(
        id="showCertificate",
        path="/certificates/{fingerprint}",
        summary="One certificate with its places and open findings, as `certwatch show --json`",
        path_parameters={
            "fingerprint": PathParameter(
                description="SHA-256, hex, or its beginning; with .pem behind it: the certificate itself",
                schema={"type": "string", "pattern": FINGERPRINT},
                example="0" * 64,
            )
        },
        answers=CertificateShown,
        answer=_certificate,
    ),
    Operation(
        id="showLocation",
        path="/locations/{uri}",
        summary="One location with what it serves and served, as `certwatch show --json`",
        path_parameters={
            "uri": PathParameter(
                description="The location's URI, percent-encoded as a whole",
                schema={"type": "string", "minLength": 1},
                example="tls://192.0.2.1:443/",
            )
        },
        answers=LocationJSON,
        answer=_location,
    ),
    Operation(
        id="listFindings",
        path="/findings",
        summary="What is wrong, as `certwatch findings --json`",
        asked=FindingsAsked,
        answers=FindingsAnswer,
        answer=_findings,
    ),
    Operation(
        id="showFinding",
        path="/findings/{id}",
        summary="One finding",
        path_parameters={
            "id": PathParameter(
                description="Its number",
                schema={"type": "integer", "minimum": 1, "maximum": _MOST_ID},
                example="1",
            )
        },
        answers=FindingJSON,
        answer=_finding,
    ),
    Operation(
        id="listRules",
        path="/rules",
        summary="What is checked, as `certwatch rules --json`",
        answers=RulesAnswer,
        answer=_rules,
    ),
    Operation(
        id="explainRule",
        path="/rules/{id}",
        summary="One rule, as `certwatch rules explain --json`",
        path_parameters={
            "id": PathParameter(
                description="Its id", schema={"type": "string", "minLength": 1}, example="expiry"
            )
        },
        answers=RuleExplained,
        answer=_rule,
    ),
    Operation(
        id="listCollectors",
        path="/collectors",
        summary="Collectors with their last scans",
        answers=CollectorsAnswer,
        overview=collectors_answer,
    ),
    Operation(
        id="status",
        path="/status",
        summary="How certwatch is, and what it knows, in numbers",
        answers=StatusAnswer,
        overview=status_answer,
    ),
)
