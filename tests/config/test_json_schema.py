"""The schema for editors: the same keys as the loader takes."""

from typing import Any

import pytest

from certwatch.config.json_schema import json_schema
from certwatch.config.models import keys_of
from certwatch.config.schema import FileKeys
from certwatch.plugins import registry

SCHEMA, FAILURES = json_schema()


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_it_has_every_key_of_the_top_level() -> None:
    assert set(SCHEMA["properties"]) == {*keys_of(FileKeys), "inventory_file"}
    assert SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize("group", ["collectors", "exporters"])
def test_each_installed_kind_has_its_own_keys_and_the_common_ones(group: registry.Group) -> None:
    for kind in registry.names(group):
        definition = SCHEMA["$defs"][f"{group}.{kind}"]
        own = set(keys_of(registry.load(group, kind).Config))
        assert own | {"kind", "name"} <= set(definition["properties"])
        assert definition["properties"]["kind"] == {"const": kind}
        assert definition["additionalProperties"] is False


def test_each_rule_has_its_settings_or_is_left_out() -> None:
    assert set(SCHEMA["properties"]["rules"]["properties"]) == {*registry.names("rules"), "custom"}
    assert {"type": "boolean"} in SCHEMA["properties"]["rules"]["properties"]["expiry"]["anyOf"]


def test_every_reference_leads_somewhere() -> None:
    for reference in references(SCHEMA):
        assert reference.removeprefix("#/$defs/") in SCHEMA["$defs"], reference


def test_nothing_is_left_out() -> None:
    assert FAILURES == []


def test_keys_are_described_as_in_the_source() -> None:
    tls = SCHEMA["$defs"]["collectors.tls"]["properties"]
    assert tls["timeout"]["description"].startswith("Seconds for one endpoint")
    assert tls["every"]["default"] == "1h"
