"""One CSV that certutil has written: in the language of the server, in whatever encoding its shell made of it.

What is in a column is known by its place in the command that the documentation gives, or by its name: certutil's own
(`Request.Disposition`), or the English one. Only the certificate says when it begins and ends; how the server writes dates
is learnt from that.
"""

import csv
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

#: The columns of the documented command, in its order.
COLUMNS = (
    "request_id",
    "serial",
    "not_before",
    "not_after",
    "name",
    "template",
    "disposition",
    "submitted",
    "revoked",
    "reason",
    "requester",
    "certificate",
)
#: Names of columns, in lower case: of certutil's schema, and as it shows them in English.
_NAMES: Mapping[str, str] = {
    "requestid": "request_id",
    "request.requestid": "request_id",
    "request id": "request_id",
    "issued request id": "request_id",
    "serialnumber": "serial",
    "serial number": "serial",
    "notbefore": "not_before",
    "certificate effective date": "not_before",
    "notafter": "not_after",
    "certificate expiration date": "not_after",
    "commonname": "name",
    "issued common name": "name",
    "certificatetemplate": "template",
    "certificate template": "template",
    "disposition": "disposition",
    "request.disposition": "disposition",
    "request disposition": "disposition",
    "request.submittedwhen": "submitted",
    "request submission date": "submitted",
    "request.revokedeffectivewhen": "revoked",
    "effective revocation date": "revoked",
    "request.revokedwhen": "revoked",
    "revocation date": "revoked",
    "request.revokedreason": "reason",
    "revocation reason": "reason",
    "request.requestername": "requester",
    "requester name": "requester",
    "rawcertificate": "certificate",
    "binary certificate": "certificate",
}
_MARKER = "BEGIN CERTIFICATE"
#: "20 -- Issued", "0x14 (20) -- Ausgestellt", "20".
_NUMBER = re.compile(r"\s*(?:0x[0-9a-fA-F]+\s*\()?(-?\d{1,10})\)?(?:\s*--.*)?\s*", re.DOTALL)


class NoExport(Exception):
    """The message says what the file lacks."""


@dataclass(frozen=True, slots=True)
class Row:
    """By our names; absent: the export has no such column, or nothing in it."""

    line: int
    values: Mapping[str, str]

    def get(self, column: str) -> str:
        return self.values.get(column, "")

    def number(self, column: str) -> int | None:
        match = _NUMBER.fullmatch(self.get(column))
        return int(match[1]) if match is not None else None


def encoding_of(head: bytes) -> str:
    """From the beginning of a file. PowerShell writes UTF-16, cmd.exe the console's code page, of which only names of people
    are read otherwise than they were meant."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if head[1:2] == b"\0":
        return "utf-16-le"
    try:
        # Its last character may be cut.
        getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def rows(lines: Iterable[str]) -> Iterator[Row]:
    """`lines` with their ends. Raises NoExport."""
    reader = csv.reader(lines, skipinitialspace=True)
    try:
        header = next(reader, [])
        columns = _columns(header)
        for line in reader:
            # After the rows certutil says that it has ended.
            if len(line) != len(header):
                continue
            values = {
                name: value.strip()
                for name, value in zip(columns, line, strict=True)
                if name and value.strip() not in ("", "EMPTY")
            }
            yield Row(reader.line_num, values)
    except csv.Error as error:
        raise NoExport(f"line {reader.line_num}: {error}") from error


def _columns(header: Sequence[str]) -> list[str]:
    """Our name of each column; empty: of no use. Raises NoExport."""
    found = [_NAMES.get(each.strip().lower(), "") for each in header]
    if "certificate" in found and "disposition" in found:
        return found
    if len(header) == len(COLUMNS):
        return [*COLUMNS]
    raise NoExport(
        f"has {len(header)} columns ({', '.join(header)[:200]}), of which none is RawCertificate or Request.Disposition: "
        "export it by the command in docs/ca-databases.md"
    )


def has_certificate(row: Row) -> bool:
    return _MARKER in row.get("certificate") or len(row.get("certificate")) > 100
