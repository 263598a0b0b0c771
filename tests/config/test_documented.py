"""docs/configuration.md says what the loader does."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from certwatch.config.load import read
from certwatch.config.models import keys_of
from certwatch.config.schema import (
    CollectorKeys,
    CustomRuleKeys,
    ExporterKeys,
    FileKeys,
    LogKeys,
    OwnerKeys,
    RouteKeys,
    WorkersKeys,
)
from certwatch.expressions.fields import VARIABLES

PAGE = (Path(__file__).parent.parent.parent / "docs/configuration.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_loads(example: str) -> None:
    assert read(example, env={"HOME": "/home/user"}).remarks == ()


@pytest.mark.parametrize(
    "model",
    [FileKeys, CollectorKeys, ExporterKeys, OwnerKeys, RouteKeys, CustomRuleKeys, LogKeys, WorkersKeys],
)
def test_every_key_of_the_core_is_documented(model: type[BaseModel]) -> None:
    for key in keys_of(model):
        assert f"`{key}`" in PAGE, key


def test_every_field_that_a_condition_may_read_is_documented() -> None:
    for scope in VARIABLES.values():
        for variable, fields in scope.items():
            assert f"`{variable}`" in PAGE
            for field, inner in (fields or {}).items():
                names = [f"{field}.{each}" for each in inner] if inner and "*" not in inner else [field]
                for name in names:
                    assert f"`{name}`" in PAGE, name
