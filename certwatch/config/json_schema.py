"""JSON Schema of the config for editors, made from the core's models and every installed plug-in's `Config`."""

import inspect
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from certwatch.config.ca import CaKeys
from certwatch.config.models import secrets_of
from certwatch.config.remediation import RemediationKeys
from certwatch.config.schema import CollectorKeys, CustomRuleKeys, ExporterKeys, FileKeys
from certwatch.plugins import registry
from certwatch.plugins.duration import format_duration


def json_schema() -> tuple[dict[str, Any], list[str]]:
    """The schema, and what could not be put into it (plug-ins that cannot be loaded)."""
    definitions: dict[str, Any] = {}
    failures: list[str] = []
    schema = _of(FileKeys, "", definitions)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "certwatch.yaml"
    properties = schema["properties"]
    properties["inventory_file"] = {"type": "string", "description": "File that holds `inventory`."}
    paths = properties["trust"]["patternProperties"]
    for pattern, value in paths.items():
        paths[pattern] = {"anyOf": [{"type": "string", "minLength": 1}, value]}
    properties["collectors"]["items"] = _entries("collectors", CollectorKeys, definitions, failures)
    properties["exporters"]["items"] = _entries("exporters", ExporterKeys, definitions, failures)
    properties["ca"] = {"description": "The embedded CA.", **_of(CaKeys, "ca.", definitions)}
    properties["remediation"] = {
        "description": "Renewing by itself.",
        **_of(RemediationKeys, "remediation.", definitions),
    }
    properties["rules"] = _rules(definitions, failures)
    # An environment reference may stand in place of any value; editors are told of texts only.
    schema["$defs"] = definitions | schema.get("$defs", {})
    return schema, failures


def _of(model: type[BaseModel], name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema, the models inside it put under `definitions` with `name` in front."""
    schema = model.model_json_schema(ref_template="#/$defs/" + name + "{model}")
    for inner, definition in schema.pop("$defs", {}).items():
        definitions[name + inner] = definition
    required = schema.get("required", [])
    for secret in sorted(secrets_of(model)):
        schema["properties"][f"{secret}_file"] = {
            "type": "string",
            "description": f"File that holds `{secret}`.",
        }
        if secret in required:
            # One of the two is.
            required.remove(secret)
    for field, text in remarks(model).items():
        schema["properties"].get(field, {}).setdefault("description", text)
    for field, info in model.model_fields.items():
        if isinstance(info.default, timedelta):
            schema["properties"][info.alias or field]["default"] = format_duration(info.default)
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def remarks(model: type[BaseModel]) -> dict[str, str]:
    """What the source says of each field, in `#:` lines above it. Empty where there is no source to read."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        try:
            lines = inspect.getsource(cls).splitlines()
        except (OSError, TypeError):
            continue
        said: list[str] = []
        for line in map(str.strip, lines):
            name = line.partition(":")[0]
            if line.startswith("#:"):
                said.append(line[2:].strip())
            else:
                if said and name in model.model_fields:
                    found[model.model_fields[name].alias or name] = " ".join(said).replace("`", "")
                said = []
    return found


def _load(group: registry.Group, kind: str, failures: list[str]) -> Any:
    try:
        return registry.load(group, kind)
    except registry.PluginError as error:
        failures.append(str(error))
        return None


def _entries(
    group: registry.Group, keys: type[BaseModel], definitions: dict[str, Any], failures: list[str]
) -> dict[str, Any]:
    """One of the installed kinds, told apart by `kind`."""
    branches = []
    for kind in registry.names(group):
        plugin = _load(group, kind, failures)
        if plugin is None:
            continue
        name = f"{group}.{kind}."
        common, own = _of(keys, name, definitions), _of(plugin.Config, name, definitions)
        definitions[name.removesuffix(".")] = {
            "type": "object",
            "description": (plugin.__doc__ or "").partition("\n\n")[0],
            "properties": {**common["properties"], **own.get("properties", {}), "kind": {"const": kind}},
            "required": sorted({"kind", *common.get("required", []), *own.get("required", [])}),
            "additionalProperties": False,
        }
        branches.append({"$ref": f"#/$defs/{name.removesuffix('.')}"})
    return {"type": "object", "required": ["kind"], "oneOf": branches}


def _rules(definitions: dict[str, Any], failures: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for id in registry.names("rules"):
        rule = _load("rules", id, failures)
        if rule is not None:
            settings = _of(rule.Config, f"rules.{id}.", definitions)
            properties[id] = {"description": rule.title, "anyOf": [settings, {"type": "boolean"}]}
    properties["custom"] = {"type": "array", "items": _of(CustomRuleKeys, "rules.custom.", definitions)}
    return {"type": "object", "properties": properties, "additionalProperties": False}
