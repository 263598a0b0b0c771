"""From the text of a condition to something that can be asked, with every mistake that can be found beforehand."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from certwatch.expressions import bounds, patterns
from certwatch.expressions.bounds import Nested, TooCostly
from certwatch.expressions.cel_library import cel
from certwatch.expressions.fields import FREE, VARIABLES, Scope, Subject, variables
from certwatch.model.certificate import Certificate, Fingerprint, Name, PublicKey
from certwatch.model.location import Location, LocationURI

#: Longer ones are not written by people.
MAX_LENGTH = 4096

#: Functions that the library brings along (a test calls each of them). Operators have names like "_==_".
FUNCTIONS = frozenset(
    [
        "size", "contains", "startsWith", "endsWith", "matches", "dyn", "type",
        "int", "uint", "double", "string", "bytes", "timestamp", "duration",
        "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek",
        "getHours", "getMinutes", "getSeconds", "getMilliseconds",
    ]
)  # fmt: skip

#: Texts and remarks as the library reads them: in a raw text a backslash is one, so that its end is not taken for a quote in it.
_STRING = re.compile(
    r"""
      [bB]?[rR](?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
    | [bB]?(?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | //[^\n]*
    """,
    re.DOTALL | re.VERBOSE,
)
_PATH = re.compile(r"(?<![\w.])([A-Za-z_]\w*)((?:\s*\.\s*[A-Za-z_]\w*)*)(\s*\()?")
_SYNTAX = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class ExpressionError(Exception):
    """A condition that cannot be asked. The message says where in it, and why."""

    def __init__(self, message: str, *, line: int = 1, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: In the text of the condition, from 1.
        self.line = line
        #: From 1. None: not known.
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled condition. Made by `compile`."""

    text: str
    #: The variables that it reads, with those of their fields that it reads. None: perhaps all.
    reads: Mapping[str, frozenset[str] | None]
    program: Any
    #: Macros within one another: what these may cost. None: there are none.
    nested: Nested | None = None
    #: It has regular expressions.
    has_patterns: bool = False

    @property
    def reads_location(self) -> bool:
        return "location" in self.reads

    def matches(self, subject: Subject) -> bool:
        """Whether it holds. What it needs and is not known (no such label, an unreadable date) makes it false,
        and so does any other failure, lists that are too long for it among them: it never raises."""
        values = variables(subject, self.reads)
        try:
            return self.execute(values) is True
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
            return False

    def execute(self, values: dict[str, object]) -> object:
        """What it gives, whatever that is. Raises what the library does."""
        if self.nested is not None and not self.nested.allow(values):
            raise ValueError("lists that are too long for macros within one another")
        if self.has_patterns:
            values[patterns.FUNCTION] = patterns.matches
        return self.program.execute(values)


def compile(text: str, *, scope: Scope) -> Expression:
    """Raises ExpressionError: syntax, an unknown variable, field or function, a bad regular expression, a result
    that is not true or false (as far as that can be told beforehand)."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    if not text.strip():
        raise ExpressionError("an empty condition")
    try:
        program = cel().compile(text)
    except UnicodeEncodeError as error:
        raise ExpressionError("has a character that cannot be written in UTF-8") from error
    except ValueError as error:
        raise _syntax_error(text, str(error)) from error
    _check_functions(program)
    bare = _STRING.sub(lambda match: '""' + " " * (len(match[0]) - 2), text)
    known = VARIABLES[scope]
    reads = _check_names(bare, known, bound=frozenset(_bound(bare)))
    try:
        nested = bounds.check(bare)
    except TooCostly as error:
        raise ExpressionError(error.message, column=error.at + 1) from error
    own = _with_own_matches(text, bare)
    expression = Expression(
        text=text,
        reads=reads,
        program=program if own is None else cel().compile(own),
        nested=nested,
        has_patterns=own is not None,
    )
    _check_result(expression)
    return expression


def _syntax_error(text: str, said: str) -> ExpressionError:
    found = _SYNTAX.search(said)
    if found is None:
        return ExpressionError("not a CEL expression")
    line, column, problem = int(found[1]), int(found[2]), found[3]
    problem = problem.removeprefix("Syntax error: ").partition(" expecting ")[0].rstrip(".")
    problem = "it ends too early" if "'<EOF>'" in problem else problem
    where = f"column {column}" if line == 1 else f"line {line}, column {column}"
    return ExpressionError(f"{where}: {problem}", line=line, column=column)


def _check_functions(program: Any) -> None:
    for name in program.functions():
        if not re.fullmatch(r"[A-Za-z]\w*", name) or name in FUNCTIONS:
            continue
        raise ExpressionError(f'unknown function "{name}"{_hint(name, FUNCTIONS)}')


def _bound(bare: str) -> Iterator[str]:
    """Variables that macros bind: `cert.names.exists(n, n == "…")`."""
    for match in re.finditer(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,", bare):
        yield match[1]


_WORDS = frozenset(["true", "false", "null", "in", "has"])
#: Types are values in CEL: `type(x) == string`.
_TYPES = frozenset(
    ["int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "timestamp", "duration"]
)


def _check_names(
    bare: str, known: Mapping[str, Any], bound: frozenset[str]
) -> dict[str, frozenset[str] | None]:
    """Every name that is spoken of exists. Returns what is read: `Expression.reads`."""
    reads: dict[str, frozenset[str] | None] = {}
    for match in _PATH.finditer(bare):
        name, path, called = match[1], re.findall(r"\w+", match[2]), match[3] is not None
        if name in bound or name in _WORDS | _TYPES or (called and not path):
            continue
        column = match.start() + 1
        if name not in known:
            raise ExpressionError(
                f'unknown name "{name}"{_hint(name, known)} (known here: {", ".join(known)})', column=column
            )
        if called:
            path = path[:-1]
        _check_path(name, path, known, column)
        before = reads.get(name, frozenset())
        reads[name] = before | {path[0]} if path and before is not None else None
    return reads


def _check_path(name: str, path: list[str], known: Mapping[str, Any], column: int) -> None:
    level, said = known[name], name
    for part in path:
        if level is FREE:
            return
        if level is None:
            raise ExpressionError(f'"{said}" has no fields', column=column)
        if part not in level:
            raise ExpressionError(f'"{said}" has no "{part}"{_hint(part, level)}', column=column)
        level, said = level[part], f"{said}.{part}"


def _hint(name: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f', did you mean "{near[0]}"?' if near else ""


def _with_own_matches(text: str, bare: str) -> str | None:
    """The same with `certwatch.expressions.patterns` instead of the library's regular expressions; a bad one would fail at
    every use, and so hold never. None: it has none. Raises ExpressionError."""
    parts, done = [], 0
    for match in re.finditer(r"\bmatches(\s*\(\s*)", bare):
        column = match.end() + 1
        literal = _STRING.match(text, match.end())
        if bare[: match.start()].rstrip()[-1:] != "." or literal is None or literal[0].startswith("//"):
            # One that a certificate could choose is none that anybody has looked at.
            raise ExpressionError('a regular expression is written out: TEXT.matches("…")', column=column)
        pattern = cel().compile(literal[0]).execute({})
        if not isinstance(pattern, str):
            raise ExpressionError("a regular expression is a text", column=column)
        try:
            patterns.compiled(pattern)
        except patterns.BadPattern as error:
            raise ExpressionError(
                f"not a regular expression: {literal[0]}: {error}", column=column
            ) from error
        parts += [text[done : match.start()], patterns.FUNCTION]
        done = match.start() + len("matches")
    return "".join([*parts, text[done:]]) if parts else None


@cache
def _sample() -> Subject:
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = Certificate(
        der=b"",
        fingerprint_sha256=Fingerprint(bytes(32)),
        spki_sha256=bytes(32),
        tbs_sha256=None,
        subject="CN=sample",
        issuer="CN=sample",
        subject_der=b"",
        issuer_der=b"",
        serial_number=1,
        not_before=instant,
        not_after=instant + timedelta(days=90),
        names=(Name("dns:sample"),),
        key=PublicKey(type="rsa", bits=2048, curve="", exponent=65537),
        signature_algorithm="sha256WithRSAEncryption",
        is_ca=False,
        key_usage=frozenset(["digitalSignature"]),
        extended_key_usage=("serverAuth",),
    )
    location = Location(uri=LocationURI("tls://192.0.2.1:443/"))
    finding = {
        "rule": "expiry",
        "severity": "page",
        "summary": "sample",
        "owner": "sample",
        "opened_at": instant,
        "silenced": False,
    }
    return Subject(
        certificate=certificate, location=location, chain=(certificate,), finding=finding, now=instant
    )


def _check_result(expression: Expression) -> None:
    values = variables(_sample(), expression.reads)
    try:
        result = expression.execute(values)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return  # a label that the sample lacks, say
    if not isinstance(result, bool):
        kind = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a map"}.get(
            type(result)
        )
        raise ExpressionError(f"gives {kind or 'a value'}, not true or false: compare it with something")
