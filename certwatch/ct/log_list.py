"""The list of logs, in the v3 form of Chrome and Apple, and its signature."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from certwatch.ct.heads import LogKey
from certwatch.ct.malformed import Malformed
from certwatch.model.instants import read_instant

MAX_BYTES = 16 << 20
MAX_LOGS = 1000
State = Literal["pending", "qualified", "usable", "readonly", "retired", "rejected"]
#: Logs that are followed: those that may still grow, and those that are read to their end.
FOLLOWED: frozenset[State] = frozenset(("qualified", "usable", "readonly", "retired"))
Kind = Literal["rfc6962", "static"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalHead:
    """Where a read-only log ends."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log, as a list or the config describes it."""

    #: What people call it.
    description: str
    operator: str
    key: LogKey
    kind: Kind
    #: Where it is read, without a slash at the end: "https://ct.googleapis.com/logs/us1/argon2026h2".
    url: str
    #: Static logs: submission prefix without scheme and slash, the origin of their checkpoints. Empty: as `url`.
    origin: str
    #: Maximum merge delay.
    mmd: timedelta
    state: State
    #: Certificates that it takes end in this span. None: any.
    interval: tuple[datetime, datetime] | None = None
    final: FinalHead | None = None

    @property
    def name(self) -> str:
        """Its URL without scheme: in locations, metrics and messages."""
        return self.url.partition("://")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogList:
    logs: tuple[Log, ...]
    version: str
    #: None: the list does not say.
    at: datetime | None
    #: Logs that were left out, each a sentence that says why.
    skipped: tuple[str, ...]
    #: Those that are known by their keys, followed or not.
    known: tuple[Log, ...] = ()


def verify_signature(data: bytes, signature: bytes, public_key: bytes) -> None:
    """`public_key`: PEM. SHA-256 with PKCS #1 v1.5 or ECDSA, over the list as it was served. Raises Malformed."""
    try:
        key = load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("the key for the log list's signature is no PEM public key") from error
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            raise Malformed("the key for the log list's signature is neither RSA nor ECDSA")
    except InvalidSignature as error:
        raise Malformed("the log list is not signed by that key") from error


def parse_log_list(data: bytes) -> LogList:
    """A log that cannot be used is left out and named, and does not hide the others. Raises Malformed: it is no list."""
    if len(data) > MAX_BYTES:
        raise Malformed(f"a log list of {len(data)} bytes")
    try:
        said = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Malformed(f"the log list is no JSON: {str(error)[:100]}") from error
    operators = said.get("operators") if isinstance(said, dict) else None
    if not isinstance(operators, list):
        raise Malformed("the log list has no operators: it must be of version 3")
    logs: list[Log] = []
    skipped: list[str] = []
    for operator in operators:
        if not isinstance(operator, dict):
            skipped.append("an operator that is none")
            continue
        name = str(operator.get("name", ""))[:200]
        for group, kind in (("logs", "rfc6962"), ("tiled_logs", "static")):
            entries = operator.get(group)
            for entry in entries if isinstance(entries, list) else ():
                if len(logs) >= MAX_LOGS:
                    raise Malformed(f"the log list has more than {MAX_LOGS} logs")
                try:
                    logs.append(_log(entry, name, "static" if kind == "static" else "rfc6962"))
                except Malformed as error:
                    skipped.append(f"{_description(entry)}: {error}")
    return LogList(
        logs=tuple(_unique(logs, skipped)),
        version=str(said.get("version", ""))[:40],
        at=read_instant(said.get("log_list_timestamp")),
        skipped=tuple(skipped),
    )


def _unique(logs: list[Log], skipped: list[str]) -> list[Log]:
    found: dict[str, Log] = {}
    for log in logs:
        if log.name in found:
            skipped.append(f"{log.description}: {log.url} is there twice")
        found.setdefault(log.name, log)
    return list(found.values())


def _description(entry: Any) -> str:
    text = entry.get("description") if isinstance(entry, dict) else None
    return str(text)[:200] if text else "a log without description"


def _log(entry: Any, operator: str, kind: Kind) -> Log:
    if not isinstance(entry, dict):
        raise Malformed("not a log")
    key = LogKey.read(_bytes(entry, "key"))
    if key.log_id != _bytes(entry, "log_id"):
        raise Malformed("its log_id is not the SHA-256 of its key")
    submission = clean_url(entry.get("submission_url" if kind == "static" else "url"))
    url = clean_url(entry.get("monitoring_url")) if kind == "static" else submission
    state, final = _state(entry.get("state"))
    mmd = entry.get("mmd", 86400)
    if not isinstance(mmd, int) or not 0 < mmd < 10_000_000:
        raise Malformed("its mmd is no number of seconds")
    return Log(
        description=_description(entry),
        operator=operator,
        key=key,
        kind=kind,
        url=url,
        origin=submission.partition("://")[2] if kind == "static" else "",
        mmd=timedelta(seconds=mmd),
        state=state,
        interval=_interval(entry.get("temporal_interval")),
        final=final,
    )


def clean_url(text: Any) -> str:
    """Raises Malformed."""
    if not isinstance(text, str) or not text.startswith(("https://", "http://")) or not text.isprintable():
        raise Malformed("its URL is none of http or https")
    if len(text) > 300 or " " in text or "?" in text or "#" in text or "@" in text:
        raise Malformed("its URL is no plain prefix")
    return text.rstrip("/")


def _bytes(entry: dict[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(entry[key], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise Malformed(f"its {key} is missing, or no base64") from error


def _state(said: Any) -> tuple[State, FinalHead | None]:
    if said is None:
        # Lists of one's own need not say.
        return "usable", None
    states: tuple[State, ...] = ("pending", "qualified", "usable", "readonly", "retired", "rejected")
    found = [each for each in states if isinstance(said, dict) and each in said]
    if len(found) != 1:
        raise Malformed("it is in no known state")
    detail = said[found[0]]
    head = detail.get("final_tree_head") if isinstance(detail, dict) else None
    if not isinstance(head, dict):
        return found[0], None
    size, root = head.get("tree_size"), _bytes(head, "sha256_root_hash")
    if not isinstance(size, int) or not 0 <= size < 1 << 63 or len(root) != 32:
        raise Malformed("its final tree head is none")
    return found[0], FinalHead(size=size, root=root)


def _interval(said: Any) -> tuple[datetime, datetime] | None:
    if not isinstance(said, dict):
        return None
    start, end = read_instant(said.get("start_inclusive")), read_instant(said.get("end_exclusive"))
    return (start, end) if start is not None and end is not None else None
