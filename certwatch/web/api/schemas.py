"""JSON Schemas from the types that answers are made of (certwatch/inventory/shapes.py)."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from certwatch.inventory.shapes import Told

_PLAIN: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


def schema_of(type_: Any, components: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema 2020-12. Every TypedDict met on the way is put into `components`, and referred to."""
    if type_ in _PLAIN:
        return dict(_PLAIN[type_])
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        said = {
            key: value
            for told in arguments[1:]
            if isinstance(told, Told)
            for key, value in (("description", told.description), ("format", told.format))
            if value
        }
        schema = schema_of(arguments[0], components)
        if "anyOf" in schema and "format" in said:
            raise TypeError(f"{type_}: say the format of the part that has it")
        return schema | said
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of(each, components) for each in arguments]}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], components)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], components)}
    if is_typeddict(type_):
        return _component(type_, components)
    raise TypeError(f"{type_!r}: no JSON Schema is known for it")


def _component(type_: Any, components: dict[str, Any]) -> dict[str, Any]:
    name = type_.__name__.removesuffix("JSON")
    if name not in components:
        components[name] = {}  # before its fields: one of them may be of this type
        fields = get_type_hints(type_, include_extras=True)
        components[name] = {
            "type": "object",
            "description": (type_.__doc__ or name).strip(),
            "properties": {field: schema_of(each, components) for field, each in fields.items()},
            "required": list(fields),
            # Fields may be added; what is there stays.
        }
    return {"$ref": f"#/components/schemas/{name}"}
