"""Signatures by keys in KMS, as CloudTrail's event history tells of them: they are counted, key by key (M6)."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from certwatch.model.observation import Observation
from certwatch.telemetry.metrics import AWS_KMS_SIGNATURES
from collectors.aws.place import name_of
from collectors.aws.region import Region
from collectors.aws.service import Service

#: Events come late, by a quarter of an hour as AWS says.
_LATE = timedelta(minutes=20)
#: The first time so much of the past is counted.
_FIRST = timedelta(hours=1)
#: Events that are told apart, so that none counts twice.
_REMEMBERED = 200_000


def look(region: Region) -> Iterator[Observation]:
    """Counts; there is no place to see."""
    memory = region.memory.setdefault("kms", {"seen": OrderedDict(), "until": None})
    seen: OrderedDict[str, None] = memory["seen"]
    since = (memory["until"] or region.now - _FIRST) - _LATE
    for page in region.client("cloudtrail").pages(
        "LookupEvents",
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "Sign"}],
        StartTime=since,
        EndTime=region.now,
        PaginationConfig={"PageSize": 50},
    ):
        for event in page.get("Events", ()):
            id = str(event.get("EventId", ""))
            if id in seen or event.get("EventSource", "kms.amazonaws.com") != "kms.amazonaws.com":
                continue
            seen[id] = None
            if len(seen) > _REMEMBERED:
                seen.popitem(last=False)
            key, algorithm = _key(event)
            AWS_KMS_SIGNATURES.labels(region.account.id, region.name, key, algorithm).inc()
    memory["until"] = region.now
    yield from ()


def _key(event: Mapping[str, Any]) -> tuple[str, str]:
    """Id of the key, and by which algorithm it signed. Without id: a failed request, or one that cannot be read."""
    try:
        told = json.loads(str(event.get("CloudTrailEvent") or "{}"))
    except (ValueError, RecursionError):
        told = {}
    asked = told.get("requestParameters") if isinstance(told, dict) else None
    asked = asked if isinstance(asked, dict) else {}
    named = [
        str(each.get("ResourceName"))
        for each in event.get("Resources", ())
        if each.get("ResourceType") == "AWS::KMS::Key"
    ]
    key = named[0] if named else str(asked.get("keyId") or "unknown")
    return name_of(key)[:100], str(asked.get("signingAlgorithm") or "unknown")[:50]


SERVICE = Service(
    name="kms-signatures",
    look=look,
    operations={"cloudtrail": ("LookupEvents",)},
)
