"""What a CA's database says: one certificate that was issued, in whatever way its database writes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

from certwatch.model.observation import ErrorKind, Fact, LookError

#: CRLReason (RFC 5280, 5.3.1) by number.
REASONS = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
_BY_NAME = {name.lower(): name for name in REASONS.values()}
#: What most sources say of themselves.
NO_FACTS: Mapping[str, Fact] = MappingProxyType({})
#: Text out of a database that becomes a fact.
LONGEST = 500


class Record(NamedTuple):
    """One certificate in a CA's database. What the database does not say is None or empty. There are millions of them, and
    a frozen dataclass takes four times as long to make."""

    #: The certificate. None: the database does not keep it, or it cannot be read; then `problem` may say why.
    der: bytes | None
    #: Lower-case hex without sign or separators, whole bytes. Empty: only the certificate says it.
    serial: str = ""
    #: What it is called where neither certificate nor serial number can be read ("line-12").
    place: str = ""
    revoked: bool = False
    #: Aware UTC.
    revoked_at: datetime | None = None
    #: By RFC 5280 name. None: none is given.
    reason: str | None = None
    requester: str | None = None
    profile: str | None = None
    #: Of a certificate that is not kept.
    subject: str | None = None
    not_after: datetime | None = None
    #: Why the certificate cannot be read. None: it can, or is not kept.
    problem: LookError | None = None
    #: The certificates above it, each one's DER, its issuer first. Empty: the source does not say.
    issuers: tuple[bytes, ...] = ()
    #: What an ACME client calls it, through all its renewals. Empty: it is a certificate in a CA's database.
    lineage: str = ""
    #: What else is said of it.
    facts: Mapping[str, Fact] = NO_FACTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Requests that wait for somebody's decision."""

    count: int
    #: Since when the oldest waits. None: not known, or none waits.
    since: datetime | None
    #: What the oldest is called, where since when it waits is not told. Empty: that is told, or none waits.
    oldest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A request that was decided without a certificate."""

    #: Profile or template by which it was asked for. Empty: not known.
    profile: str
    #: "failed" or "denied".
    outcome: str


class ReadFailed(Exception):
    """The source cannot be read now. The message says where, what, what to do."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message


class WentBack(Exception):
    """The source stands before what was read of it: it was restored from a backup, or is another one."""


class Reading(Protocol):
    """One pass over a source. Blocking: used in threads, by one at a time, and closed at the end."""

    #: True: it tells all that there is; False: what is new since the mark.
    whole: bool

    def records(self) -> Iterator[Record]:
        """Each record, as they stand now. Raises ReadFailed."""
        ...

    def mark(self) -> str:
        """After the last record: where to go on the next time. Empty: it can only be read in full."""
        ...

    def pending(self) -> Pending | None:
        """None: the source knows of no such thing."""
        ...

    def outcomes(self) -> Sequence[Outcome]:
        """After the last record: what was decided since the mark without a certificate, where the source says so."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """A CA's database, as configured."""

    #: True: it may hold certificates of several CAs, each with serial numbers of its own.
    several: bool

    @property
    def authorities(self) -> tuple[bytes, ...]:
        """Once it is open: the CA's own certificates, each one's DER, as far as the source has them."""
        ...

    @property
    def facts(self) -> Mapping[str, Fact]:
        """Once it is open: what it says of itself."""
        ...

    def open(self, mark: str) -> Reading | None:
        """Begin to read: all of it with an empty mark, else what is new since then. None: nothing is. Raises ReadFailed,
        and WentBack when the mark names what is there no more."""
        ...


def serial_of_number(number: int) -> str:
    digits = f"{abs(number):x}"
    if number >= 0:
        return digits if len(digits) % 2 == 0 else f"0{digits}"
    return ("-" if number < 0 else "") + digits.zfill(len(digits) + len(digits) % 2)


def serial_of_hex(text: str) -> str:
    """From any way to write hex: "0A:1F", "0x0a1f", "00 0A 1F". Empty: it is none."""
    bare = "".join(text.split()).replace(":", "").lower().removeprefix("0x")
    try:
        # Below zero as OpenSSL writes it ("-0A").
        return serial_of_number(int(bare, 16)) if bare.isascii() and bare.removeprefix("-").isalnum() else ""
    except ValueError:
        return ""


def serial_of_decimal(value: object) -> str:
    """From a decimal number, as number, text or bytes. Empty: it is none."""
    if isinstance(value, bytes) and value.isdigit() and len(value) <= 200:
        return serial_of_number(int(value))
    text = bytes(value).decode("ascii", "replace") if isinstance(value, bytes | memoryview) else str(value)
    text = text.strip()
    # No serial has more than 20 octets (RFC 5280, 4.1.2.2); four times that is a stranger's mistake, not a number.
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 200:
        return ""
    return serial_of_number(int(text))


def reason_of(value: object) -> str | None:
    """A reason by RFC 5280 name, from a number or any way to write its name. None: there is none, or it is not known."""
    if value is None or isinstance(value, bool):
        return None
    text = str(value).strip()
    if text.isascii() and text.isdigit() and len(text) < 4:
        return REASONS.get(int(text))
    return _BY_NAME.get(text.replace("_", "").replace(" ", "").replace("-", "").lower())


def of_epoch(seconds: float | None) -> datetime | None:
    """None: there is none, or no calendar has it."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def rfc3339(at: datetime | None) -> str | None:
    """Z, whole seconds."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
