"""`certwatch rules test`: a user's rules against fixtures, for their CI."""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import click
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from certwatch.cli.failure import ACTION, OK, USAGE, Failed
from certwatch.cli.options import current_clock
from certwatch.cli.report import problems_of
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown
from certwatch.config.document import DocumentError, parse
from certwatch.config.load import load
from certwatch.config.mistakes import Path as KeyPath
from certwatch.config.mistakes import config_error
from certwatch.config.reading import Reading
from certwatch.engine.assemble import rule_set
from certwatch.engine.judge import RuleSet
from certwatch.model.certificate import Certificate
from certwatch.model.instants import parse_instant
from certwatch.model.location import LocationURI, parse_tls_location
from certwatch.model.observation import Fact, Observation
from certwatch.x509 import pem
from certwatch.x509.der import read

MAX_BYTES = 4 << 20
#: A place to be at, where a test names none.
SOMEWHERE = "tls://192.0.2.1:443/"


def _instant(value: object) -> object:
    """A day, or an instant; those without a zone are UTC."""
    return parse_instant(value) if isinstance(value, str) else value


def _location(value: str) -> str:
    """One that is misspelt would be judged by no rule, and every test of what is not said would pass."""
    try:
        if value.startswith("tls:"):
            parse_tls_location(LocationURI(value))
    except ValueError:
        value = ""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", value):
        raise ValueError(
            "no location: write it as certwatch list shows it, tls://192.0.2.1:443/ or file:///etc/ssl/a.pem"
        )
    return value


class Case(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    #: Files of certificates, leaf first, relative to the file of the tests.
    chain: tuple[str, ...] = ()
    location: Annotated[str, AfterValidator(_location)] = SOMEWHERE
    labels: dict[str, str] = {}
    facts: dict[str, Fact] = {}
    at: Annotated[datetime, BeforeValidator(_instant)] | None = None
    #: Rule to the severity that it must say, or `none`.
    expect: dict[str, Literal["page", "ticket", "info", "none"]] = Field(min_length=1)
    #: Nothing else may be said.
    only: bool = False


class Cases(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tests: tuple[Case, ...] = Field(min_length=1)


def run_tests(file: Path, config: Path | None, *, as_json: bool) -> int:
    cases = _read(file)
    rules = rule_set(load(config, env=os.environ))
    known = {each.rule.id for each in rules.rules}
    for case in cases.tests:
        for rule in case.expect:
            if rule not in known:
                raise Failed(
                    USAGE, f'{file}: test "{case.name}": no rule "{rule}" is checked with this config'
                )
    results = [(case, _wrong(case, file.parent, rules)) for case in cases.tests]
    if as_json:
        write_json({"tests": [{"name": case.name, "wrong": wrong} for case, wrong in results]})
    else:
        for case, wrong in results:
            click.echo(f"{'FAIL' if wrong else 'ok'}  {shown(case.name)}")
            for each in wrong:
                click.echo(f"      {shown(each)}")
    failed = sum(1 for _, wrong in results if wrong)
    click.echo(f"certwatch: {len(results) - failed} passed, {failed} failed", err=True)
    return ACTION if failed else OK


def _read(file: Path) -> Cases:
    """As a config is read: within bounds, every mistake at once, each with its line. Raises ConfigError, OSError."""
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Failed(USAGE, f"{file}: larger than {MAX_BYTES >> 20} MiB: no file of tests")
    try:
        document = parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Failed(USAGE, f"{file}: not UTF-8 text") from error
    except DocumentError as error:
        raise config_error(str(file), error.mistakes) from error
    # Without the environment: a fixture is the same everywhere.
    reading = Reading(document, {}, file=str(file))
    value = reading.value
    for number, each in enumerate(value.get("tests") or () if isinstance(value, dict) else ()):
        labels = each.get("labels") if isinstance(each, dict) else None
        if isinstance(labels, dict):
            path: KeyPath = ("tests", number, "labels")
            each["labels"] = {key: reading.as_written((*path, key), label) for key, label in labels.items()}
    if isinstance(value, dict):
        cases = reading.validate(Cases, value, ())
    else:
        reading.say((), "a file of tests is a key with a list: tests: […]")
    if reading.mistakes or cases is None:
        raise config_error(str(file), reading.mistakes)
    return cases


def _wrong(case: Case, folder: Path, rules: RuleSet) -> list[str]:
    """What is not as expected, each one line."""
    chain = tuple(each for name in case.chain for each in _certificates(folder / name, case.name))
    at = case.at or current_clock()()
    look = Observation(
        location=LocationURI(case.location),
        observed_at=at,
        chain=tuple(each.der for each in chain),
        facts=case.facts,
        labels=case.labels,
    )
    said: dict[str, str] = {}
    for each in problems_of(look, chain, rules, at):
        said.setdefault(each.rule, each.problem.severity)  # gravest first
    wrong = [
        f"{rule}: expected {severity}, found {said.get(rule, 'none')}"
        for rule, severity in case.expect.items()
        if said.get(rule, "none") != severity
    ]
    if case.only:
        wrong += [
            f"{rule}: expected none, found {severity}"
            for rule, severity in said.items()
            if rule not in case.expect
        ]
    return wrong


def _certificates(path: Path, test: str) -> list[Certificate]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failed(USAGE, f'test "{test}": {path}: {error.strerror}') from error
    if len(data) > MAX_BYTES:
        raise Failed(USAGE, f'test "{test}": {path}: larger than {MAX_BYTES >> 20} MiB')
    if b"-----BEGIN " not in data:
        return [read(data)]
    found: list[Any] = [read(each.data) for each in pem.blocks(data) if each.is_certificate and each.data]
    if not found:
        raise Failed(USAGE, f'test "{test}": {path} holds no certificate')
    return found
