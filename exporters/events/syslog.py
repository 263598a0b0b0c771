"""An event as a syslog message (RFC 5424): JSON as MSG, origin as structured data."""

import json
from datetime import datetime
from typing import Any

from exporters.events.config import FACILITIES

#: Of events by their own severity (3 page, 2 ticket, 1 info); RFC 5424, table 2.
_CRITICAL, _WARNING, _NOTICE, _INFO = 2, 4, 5, 6
_BY_SEVERITY = {3: _CRITICAL, 2: _WARNING, 1: _INFO}

#: What is left out of a message that is too large, in this order: first what stands in it twice.
_SPARE = (
    ("tls", "server", "x509"),
    ("file", "x509"),
    ("x509", "alternative_names"),
    ("labels",),
    ("event", "reason"),
    ("x509",),
    ("tls",),
    ("error", "message"),
    ("certwatch", "collectors"),
    ("file",),
    ("server",),
    ("rule", "reference"),
)


def message(record: bytes, *, facility: str, max_bytes: int, process: int) -> bytes:
    """`record`: an event as JSON. The message is ASCII on one line, whatever certificates say: JSON escapes all else
    (so that MSG needs no byte order mark, RFC 5424, 6.4)."""
    document: dict[str, Any] = json.loads(record)
    event = document["event"]
    priority = FACILITIES.index(facility) * 8 + _severity(event)
    moment = datetime.fromisoformat(document["@timestamp"])
    header = " ".join(
        (
            f"<{priority}>1",
            moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            _printable(document.get("host", {}).get("name", ""), 255),
            "certwatch",
            str(process),
            _printable(event["action"], 32),
            f'[origin software="certwatch" swVersion="{_parameter(document)}"]',
        )
    ).encode()
    return header + b" " + _fitting(document, max_bytes - len(header) - 1)


def _severity(event: dict[str, Any]) -> int:
    if event["action"] == "finding-resolved":
        return _NOTICE
    if event["action"] in ("finding-opened", "finding-altered"):
        return _BY_SEVERITY.get(event.get("severity", 1), _INFO)
    return _WARNING if event.get("outcome") == "failure" else _INFO


def _printable(text: str, most: int) -> str:
    """PRINTUSASCII of the header's fields; nothing is "-" (RFC 5424, 6)."""
    return "".join(each if "!" <= each <= "~" else "?" for each in text)[:most] or "-"


def _parameter(document: dict[str, Any]) -> str:
    version = _printable(document.get("service", {}).get("version", ""), 32)
    return "".join(each for each in version if each not in '"\\]')


def _fitting(document: dict[str, Any], room: int) -> bytes:
    """As JSON within `room` bytes: parts are left out, then texts cut, never the JSON itself."""
    text = _json(document)
    if len(text) <= room:
        return text
    document.setdefault("certwatch", {})["truncated"] = True
    for path in _SPARE:
        _leave_out(document, path)
        text = _json(document)
        if len(text) <= room:
            return text
    # Nothing but the least; a location or a message of a hundred kilobytes is cut to what is left.
    kept: dict[str, Any] = {
        "@timestamp": document["@timestamp"],
        "event": {key: document["event"][key] for key in ("action", "id") if key in document["event"]},
        "certwatch": {"truncated": True},
    }
    for name, value in (
        ("location", document["certwatch"].get("location")),
        ("message", document.get("message")),
    ):
        if value is None:
            continue
        at = kept["certwatch"] if name == "location" else kept
        at[name] = value
        least, most = 0, len(value)
        while least < most:
            middle = (least + most + 1) // 2
            at[name] = value[:middle]
            least, most = (middle, most) if len(_json(kept)) <= room else (least, middle - 1)
        at[name] = value[:least]
        if not least:
            del at[name]
    return _json(kept)


def _leave_out(document: dict[str, Any], path: tuple[str, ...]) -> None:
    at: Any = document
    for part in path[:-1]:
        at = at.get(part, {})
    at.pop(path[-1], None)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
