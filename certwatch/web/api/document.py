"""The OpenAPI document (3.1), made from what checks the questions and shapes the answers."""

from typing import Any

from certwatch.web.api.answers import ProblemAnswer
from certwatch.web.api.operations import OPERATIONS, Operation
from certwatch.web.api.parameters import Parameters
from certwatch.web.api.schemas import schema_of
from certwatch.web.reply import JSON, PROBLEM

_REFUSALS = {
    "400": "What was asked cannot be; `detail` names the parameter",
    "404": "There is no such thing",
    "410": "The cursor's certificate or finding has been forgotten since: begin again",
    "503": "The inventory cannot be read, or not in that time",
}


def document(version: str) -> dict[str, Any]:
    components: dict[str, Any] = {}
    paths = {f"/api/v1{each.path}": {"get": _operation(each, components)} for each in OPERATIONS}
    problem = schema_of(ProblemAnswer, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "certwatch",
            "version": version,
            "description": "The inventory of certificates, read-only. Instants are RFC 3339 in UTC. Fields may be"
            " added to answers; what is there stays.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                f"Refused{status}": {"description": why, "content": {PROBLEM: {"schema": problem}}}
                for status, why in _REFUSALS.items()
            },
        },
    }


def _operation(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    path_parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": each.description,
            "schema": dict(each.schema),
        }
        for name, each in operation.path_parameters.items()
    ]
    return {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": path_parameters + _query_parameters(operation.asked),
        "responses": {
            "200": {
                "description": "The answer",
                "content": {JSON: {"schema": schema_of(operation.answers, components)}},
            },
            **{status: {"$ref": f"#/components/responses/Refused{status}"} for status in _REFUSALS},
        },
    }


def _query_parameters(model: type[Parameters]) -> list[dict[str, Any]]:
    properties = model.model_json_schema()["properties"] if model.model_fields else {}
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": model.model_fields[name].description or name,
            "schema": _sent(schema),
        }
        for name, schema in properties.items()
    ]


def _sent(schema: dict[str, Any]) -> dict[str, Any]:
    """What may stand in a query string: absent is null."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
    choices = [each for each in kept.pop("anyOf", []) if each != {"type": "null"}]
    return kept | (choices[0] if choices else {})
