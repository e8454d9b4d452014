"""Turn pydantic's JSON Schemas into what an editor needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NULL = {"type": "null"}


def simplify(node: Any, *, nulls: bool = False) -> Any:
    """Drop titles that repeat a key, open name patterns and, unless `nulls`, null options."""
    if isinstance(node, list):
        return [simplify(item, nulls=nulls) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: simplify(value, nulls=nulls) for key, value in node.items()}
    options = node.get("anyOf", [])
    if not nulls:
        options = [option for option in options if option != NULL]
    if len(options) == 1:
        del node["anyOf"]
        node = {**options[0], **node}
    if "patternProperties" in node:
        node["additionalProperties"] = False
    if isinstance(node.get("title"), str):
        del node["title"]
    if node.get("default", 0) in (None, "", [], {}):
        del node["default"]
    node.pop("discriminator", None)  # a keyword of OpenAPI, not of JSON Schema
    return node


def if_key(key: str, is_: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return a condition: where a key is there and fits one schema, the whole fits another."""
    return {"if": {"properties": {key: is_}, "required": [key]}, "then": then}


def any_of(schemas: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of what one of several is; of a single one, that."""
    alternatives = without_duplicates(schemas)
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def without_duplicates(schemas: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return schemas, each once."""
    found: list[dict[str, Any]] = []
    for schema in schemas:
        if schema not in found:
            found.append(schema)
    return found
