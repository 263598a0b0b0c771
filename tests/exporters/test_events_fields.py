"""Fields: each event holds only what the table names, with values of its type, whatever a certificate says."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.certificate import Name, PublicKey
from certwatch.model.ledger_entry import LedgerEntry
from certwatch.model.location import Location, LocationURI, file_location, tls_location
from certwatch.model.observation import LookError, Scan, ScanID
from certwatch.plugins.testing import EPOCH
from exporters.events.documents import (
    Document,
    Origin,
    encoded,
    finding_document,
    ledger_document,
    location_document,
    lost_document,
    scan_document,
)
from exporters.events.ecs import FIELDS, MAX_TEXT, MAX_VALUES, mappings
from tests.exporters.test_events import CERTIFICATE, FINDING, SERVED
from tests.support.serving import SILENCE

ORIGIN = Origin(hostname="watch.example.com", version="0.1.0")
SCAN = Scan(
    id=ScanID(1),
    collector="edge",
    started_at=EPOCH,
    finished_at=EPOCH,
    status="failed",
    error=LookError(kind="dns", message="x"),
    observations=1,
    errors=1,
)
FAILING = replace(
    SERVED,
    error=LookError(kind="refused", message="refused"),
    facts={"tls_version": "TLSv1.2", "group": "X25519", "alpn": "h2", "cipher": "X"},
)
FILE = replace(
    SERVED, location=Location(uri=file_location("/etc/ssl/a b.pem"), labels={"a.b/c": "d", "a": "e"})
)
ENTRY = LedgerEntry(
    origin="certwatch-ca/00",
    position=7,
    kind="request",
    at=EPOCH,
    data=json.dumps(
        {"kind": "request", "at": 1, "request": 3, "requester": "web-7", "names": ["dns:a.example", "ip:10.0.0.1"],
         "serial": None, "approvals": 0}
    ).encode(),
)  # fmt: skip
DOCUMENTS = {
    "opened": finding_document("finding-opened", FINDING, SERVED, EPOCH),
    "resolved": finding_document("finding-resolved", replace(FINDING, resolved_at=EPOCH), None, EPOCH),
    "silenced": finding_document("finding-altered", replace(FINDING, silence=SILENCE), SERVED, EPOCH),
    "changed": location_document("location-changed", SERVED, EPOCH),
    "failing": location_document("location-changed", FAILING, EPOCH),
    "retired": location_document("location-retired", FILE, EPOCH),
    "empty": location_document("location-changed", replace(SERVED, chain=()), EPOCH),
    "scan": scan_document(SCAN, EPOCH),
    "lost": lost_document(EPOCH),
    "ledger": ledger_document(ENTRY),
}


def flat(document: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        name = prefix + key
        if isinstance(value, dict) and FIELDS.get(name) != "object":
            yield from flat(value, name + ".")
        else:
            yield name, value


def check(document: Document) -> None:
    for name, value in flat(document):
        assert name in FIELDS, name
        for each in value if isinstance(value, list) else [value]:
            assert fits(FIELDS[name], each), (name, each)


def fits(type: str, value: Any) -> bool:
    if type in ("keyword", "match_only_text"):
        return isinstance(value, str)
    if type == "long":
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if type == "boolean":
        return isinstance(value, bool)
    if type == "ip":
        return bool(ip_address(value))
    if type == "date":
        return datetime.fromisoformat(value).utcoffset() is not None
    return isinstance(value, dict) and all(
        isinstance(each, str) and "." not in key for key, each in value.items()
    )


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_field_is_in_the_table_with_a_value_of_its_type(document: Document) -> None:
    told = json.loads(encoded(document, ORIGIN))
    check(told)
    assert told["event"]["kind"] in {"alert", "event", "state", "pipeline_error"}
    assert told["host"]["name"] == "watch.example.com"
    assert told["service"]["version"] == "0.1.0"
    assert not [name for name, value in flat(told) if value in ("", [], {}, None)]


def test_no_field_of_the_table_is_a_field_and_a_parent() -> None:
    for name in FIELDS:
        assert not any(other.startswith(name + ".") for other in FIELDS), name
    properties = mappings()["properties"]
    assert properties["tls"]["properties"]["server"]["properties"]["x509"]["properties"]["issuer"][
        "properties"
    ]["common_name"] == {"type": "keyword", "ignore_above": 1024}


def test_the_table_has_what_the_common_schema_says_of_certificates() -> None:
    for field, type in {
        "alternative_names": "keyword",
        "issuer.distinguished_name": "keyword",
        "not_after": "date",
        "public_key_exponent": "long",
        "public_key_size": "long",
        "serial_number": "keyword",
        "subject.common_name": "keyword",
    }.items():
        for place in ("x509", "tls.server.x509", "file.x509"):
            assert FIELDS[f"{place}.{field}"] == type


def test_the_same_happening_has_the_same_id_and_another_has_another() -> None:
    def id_of(document: Document) -> str:
        return str(json.loads(encoded(document, ORIGIN))["event"]["id"])

    first = id_of(finding_document("finding-opened", FINDING, SERVED, EPOCH))
    assert id_of(finding_document("finding-opened", FINDING, SERVED, EPOCH)) == first
    assert id_of(finding_document("finding-altered", FINDING, SERVED, EPOCH)) != first


def test_labels_with_dots_make_no_objects() -> None:
    assert DOCUMENTS["retired"]["labels"] == {"a_b/c": "d", "a": "e"}


def test_an_address_with_a_zone_is_no_ip() -> None:
    served = replace(SERVED, location=Location(uri=tls_location("fe80::1%eth0", 443)))
    document = location_document("location-changed", served, EPOCH)
    assert "ip" not in document["server"]


def test_what_is_too_long_is_cut_and_marked() -> None:
    certificate = replace(
        CERTIFICATE,
        names=tuple(Name(f"dns:{number}.example.com") for number in range(MAX_VALUES + 5)),
        subject="CN=" + "x" * 100_000,
    )
    served = replace(SERVED, chain=(certificate,))
    told = json.loads(encoded(location_document("location-changed", served, EPOCH), ORIGIN))
    check(told)
    assert told["certwatch"]["truncated"] is True
    assert len(told["x509"]["alternative_names"]) == MAX_VALUES
    assert len(told["x509"]["subject"]["distinguished_name"]) == MAX_TEXT


@given(
    text=st.text(st.characters(codec=None), max_size=40),
    exponent=st.none() | st.integers(min_value=0),
    path=st.binary(min_size=1, max_size=20),
)
def test_whatever_stands_in_a_certificate_the_line_is_one_and_every_value_fits(
    text: str, exponent: int | None, path: bytes
) -> None:
    certificate = replace(
        CERTIFICATE,
        subject="CN=" + text,
        issuer=text,
        names=(Name("dns:" + text),),
        signature_algorithm=text,
        key=PublicKey(type="rsa", bits=2048, exponent=exponent),
    )
    uri = file_location("/" + path.decode("utf-8", "surrogateescape"))
    for served in (
        replace(SERVED, chain=(certificate,), location=Location(uri=uri, labels={text: text})),
        replace(SERVED, chain=(certificate,), facts={"tls_version": text, "cipher": text}),
        replace(SERVED, location=Location(uri=LocationURI("other://" + text))),
    ):
        line = encoded(location_document("location-changed", served, EPOCH), ORIGIN)
        assert b"\n" not in line
        check(json.loads(line))
