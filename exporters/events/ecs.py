"""Every field that an event may have, with its type in Elastic Common Schema 8 and 9, and what makes a value fit.

The index template is made of this table, and a test holds every event to it. `certwatch.*` is ours.
"""

from collections.abc import Mapping
from typing import Any, Literal

#: Valid in 9.x as well: no field used here was changed.
ECS_VERSION = "8.17.0"

FieldType = Literal["keyword", "date", "long", "ip", "boolean", "match_only_text", "object"]

_NAME: Mapping[str, FieldType] = {
    "common_name": "keyword",
    "country": "keyword",
    "distinguished_name": "keyword",
    "locality": "keyword",
    "organization": "keyword",
    "organizational_unit": "keyword",
    "state_or_province": "keyword",
}
_X509: Mapping[str, FieldType] = {
    "alternative_names": "keyword",
    **{f"issuer.{name}": type for name, type in _NAME.items()},
    "not_after": "date",
    "not_before": "date",
    "public_key_algorithm": "keyword",
    "public_key_curve": "keyword",
    "public_key_exponent": "long",
    "public_key_size": "long",
    "serial_number": "keyword",
    "signature_algorithm": "keyword",
    **{f"subject.{name}": type for name, type in _NAME.items()},
}

#: Name with dots → type. "object": keys that others choose, each a keyword.
FIELDS: Mapping[str, FieldType] = {
    "@timestamp": "date",
    "ecs.version": "keyword",
    "error.code": "keyword",
    "error.message": "match_only_text",
    "event.action": "keyword",
    "event.category": "keyword",
    "event.created": "date",
    "event.dataset": "keyword",
    "event.duration": "long",
    "event.end": "date",
    "event.id": "keyword",
    "event.kind": "keyword",
    "event.module": "keyword",
    "event.outcome": "keyword",
    "event.reason": "keyword",
    "event.severity": "long",
    "event.start": "date",
    "event.type": "keyword",
    "file.name": "keyword",
    "file.path": "keyword",
    **{f"file.x509.{name}": type for name, type in _X509.items()},
    "host.hostname": "keyword",
    "host.name": "keyword",
    "labels": "object",
    "message": "match_only_text",
    "rule.id": "keyword",
    "rule.name": "keyword",
    "rule.reference": "keyword",
    "server.address": "keyword",
    "server.domain": "keyword",
    "server.ip": "ip",
    "server.port": "long",
    "service.name": "keyword",
    "service.type": "keyword",
    "service.version": "keyword",
    "tls.cipher": "keyword",
    "tls.client.server_name": "keyword",
    "tls.curve": "keyword",
    "tls.established": "boolean",
    "tls.next_protocol": "keyword",
    "tls.server.hash.sha256": "keyword",
    "tls.server.issuer": "keyword",
    "tls.server.not_after": "date",
    "tls.server.not_before": "date",
    "tls.server.subject": "keyword",
    **{f"tls.server.x509.{name}": type for name, type in _X509.items()},
    "tls.version": "keyword",
    "tls.version_protocol": "keyword",
    **{f"x509.{name}": type for name, type in _X509.items()},
    **{
        f"certwatch.ca.{name}": "keyword"
        for name in (
            "by",
            "channel",
            "issuer",
            "name",
            "names",
            "profile",
            "reason",
            "requester",
            "serial",
            "submitter",
        )
    },
    "certwatch.ca.request": "long",
    "certwatch.collector": "keyword",
    "certwatch.collectors": "keyword",
    "certwatch.errors": "long",
    "certwatch.fingerprint_sha256": "keyword",
    "certwatch.ledger.origin": "keyword",
    "certwatch.ledger.position": "long",
    "certwatch.location": "keyword",
    "certwatch.observations": "long",
    "certwatch.owner": "keyword",
    "certwatch.severity": "keyword",
    "certwatch.silence.author": "keyword",
    "certwatch.silence.id": "long",
    "certwatch.silence.reason": "match_only_text",
    "certwatch.silence.until": "date",
    "certwatch.status": "keyword",
    "certwatch.truncated": "boolean",
}

#: Longer values are kept and not indexed: Lucene refuses terms beyond 32,766 bytes, and the whole event with them.
IGNORE_ABOVE = 1024
#: A text or a list is cut here, so that no certificate makes an event of megabytes; `certwatch.truncated` says so.
MAX_TEXT = 8192
MAX_VALUES = 1000
#: What a "long" holds.
LONGEST = (1 << 63) - 1


def mappings() -> dict[str, Any]:
    """The table as an Elasticsearch mapping. What is not in it stays in the source, unindexed."""
    root: dict[str, Any] = {"dynamic": False, "properties": {}}
    for name, type in FIELDS.items():
        *parents, last = name.split(".")
        at = root["properties"]
        for parent in parents:
            at = at.setdefault(parent, {"properties": {}})["properties"]
        at[last] = _mapping(type)
    return root


def _mapping(type: FieldType) -> dict[str, Any]:
    if type == "keyword":
        return {"type": "keyword", "ignore_above": IGNORE_ABOVE}
    if type == "object":
        return {"type": "object", "dynamic": True}
    if type == "match_only_text":
        # OpenSearch and other compatible servers know "text" alone.
        return {"type": "text"}
    return {"type": type}


def fitted(document: dict[str, Any]) -> dict[str, Any]:
    """The document with values that any receiver takes: valid Unicode, no bounds exceeded, nothing empty. What had to
    be cut is marked."""
    cut: list[bool] = []
    fitting: dict[str, Any] = _fit(document, cut)
    if cut:
        fitting.setdefault("certwatch", {})["truncated"] = True
    return fitting


def _fit(value: Any, cut: list[bool]) -> Any:
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            cut.append(True)
            value = value[:MAX_TEXT]
        # Paths that are not UTF-8 hold lone surrogates, which no JSON reader must take.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        fitting = {_fit(key, cut): _fit(each, cut) for key, each in value.items()}
        return {key: each for key, each in fitting.items() if each not in ("", [], {}, None)}
    if isinstance(value, list):
        if len(value) > MAX_VALUES:
            cut.append(True)
        return [each for each in (_fit(each, cut) for each in value[:MAX_VALUES]) if each != ""]
    return value
