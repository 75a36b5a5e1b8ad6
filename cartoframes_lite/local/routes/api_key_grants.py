"""Validate the grants of API keys, with the messages of CARTO's JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_STRINGS = {"type": "array", "items": {"type": "string"}}
_PROPERTIES: dict[str, Any] = {
    "type": {"type": "string", "enum": ["apis", "database", "dataservices", "user", "data-observatory"]},
    "apis": {"type": "array", "items": {"type": "string", "enum": ["sql", "maps", "do"]}},
    "schemas": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", "permissions"],
            "properties": {
                "schema": {"type": "string"},
                "name": {"type": "string"},
                "permissions": {"type": "array", "items": {"type": "string", "enum": ["create"]}},
            },
        },
    },
    "tables": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["schema", "name", "permissions"],
            "properties": {
                "schema": {"type": "string"},
                "name": {"type": "string"},
                "owner": {"type": "boolean"},
                "permissions": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["insert", "select", "update", "delete"]},
                },
            },
        },
    },
    "services": {
        "type": "array",
        "items": {"type": "string", "enum": ["geocoding", "routing", "isolines", "observatory"]},
    },
    "data": {"type": "array", "items": {"type": "string", "enum": ["profile"]}},
    "table_metadata": {"type": "array"},
    "datasets": _STRINGS,
}
_SECTION = {"type": "object", "required": ["type"], "properties": _PROPERTIES}
_TYPES = {"array": list, "object": Mapping, "string": str, "boolean": bool}
_SINGLE = ("database", "dataservices", "user", "data-observatory")


def grants_errors(grants: Any) -> list[str]:
    """Return the reasons why grants are invalid, empty if they are valid."""
    if not isinstance(grants, list):
        return ["grants has to be an array"]
    kinds = [section.get("type") for section in grants if isinstance(section, Mapping)]
    reasons = [] if kinds.count("apis") == 1 else ["only one apis section is allowed"]
    reasons += [f"only one {kind} section is allowed" for kind in _SINGLE if kinds.count(kind) > 1]
    for number, section in enumerate(grants):
        reasons += _violations(section, _SECTION, f"#/{number}")
    return reasons


def _violations(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the violations of a schema by a value; objects must not have other members than those of the schema."""
    if not isinstance(value, _TYPES[schema["type"]]):
        yield f"The property '{path}' of type {_type_name(value)} did not match the following type: {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(schema["enum"])
        yield f"The property '{path}' value {json.dumps(value)} did not match one of the following values: {allowed}"
    if isinstance(value, list):
        for number, item in enumerate(value):
            if "items" in schema:
                yield from _violations(item, schema["items"], f"{path}/{number}")
    if isinstance(value, Mapping):
        for name in schema["required"]:
            if name not in value:
                yield f"The property '{path}' did not contain a required property of '{name}'"
        unknown = [name for name in value if name not in schema["properties"]]
        if unknown:
            yield (
                f"The property '{path}' contains additional properties {json.dumps(unknown)}"
                " outside of the schema when none are allowed"
            )
        for name, member in schema["properties"].items():
            if name in value:
                yield from _violations(value[name], member, f"{path}/{name}")


def _type_name(value: Any) -> str:
    """Return the name of a JSON value's type in Ruby, as in CARTO's messages."""
    names = {bool: str(value).capitalize() + "Class", int: "Integer", float: "Float", str: "String", list: "Array"}
    return names.get(type(value), "NilClass" if value is None else "Hash")
