"""`certwatch rules test`: a user's rules against fixtures, for their CI."""

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from certwatch.cli.failure import ACTION, OK, USAGE, Failed
from certwatch.cli.options import current_clock
from certwatch.cli.report import problems_of
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown
from certwatch.config.load import load
from certwatch.engine.assemble import rule_set
from certwatch.engine.judge import RuleSet
from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Observation
from certwatch.x509 import pem
from certwatch.x509.der import read

MAX_BYTES = 4 << 20
#: A place to be at, where a test names none.
SOMEWHERE = "tls://192.0.2.1:443/"


def _instant(value: object) -> object:
    """YAML has days and instants of its own; those without a zone are UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (
        instant.replace(tzinfo=UTC) if isinstance(instant, datetime) and instant.tzinfo is None else instant
    )


class Case(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    #: Files of certificates, leaf first, relative to the file of the tests.
    chain: tuple[str, ...] = ()
    location: str = SOMEWHERE
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
    try:
        text = file.read_text("utf-8")
        if len(text) > MAX_BYTES:
            raise Failed(USAGE, f"{file}: larger than {MAX_BYTES >> 20} MiB: no file of tests")
        return Cases.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(USAGE, f"{file}: no YAML: {shown(str(error))}") from error
    except ValidationError as error:
        raise Failed(
            USAGE,
            *(
                f"{file}: {'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg'].lower()}"
                for each in error.errors()
            ),
        ) from error


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
        data = path.read_bytes()
    except OSError as error:
        raise Failed(USAGE, f'test "{test}": {path}: {error.strerror}') from error
    if b"-----BEGIN " not in data:
        return [read(data)]
    found: list[Any] = [read(each.data) for each in pem.blocks(data) if each.is_certificate and each.data]
    if not found:
        raise Failed(USAGE, f'test "{test}": {path} holds no certificate')
    return found
