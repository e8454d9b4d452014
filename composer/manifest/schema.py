"""Generate the JSON Schema of bundles, for editors: `python -m composer.manifest.schema > FILE`."""

from __future__ import annotations

import json
from typing import Any

from composer.manifest.format import VERSION, BundleModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = f"urn:composer:bundle:{VERSION}"
SHORTHAND = ("inputs", "graph", "outputs")


def bundle_schema() -> dict[str, Any]:
    """Return the JSON Schema of a bundle's manifest."""
    schema = _simplify(BundleModel.model_json_schema())
    conflicting = [{"required": [key]} for key in SHORTHAND]
    return {
        "$schema": DIALECT,
        "$id": ID,
        **schema,
        "title": f"Composer bundle, format {VERSION}",
        "if": {"required": ["tasks"]},
        "then": {"not": {"anyOf": conflicting}},
        "else": {"required": ["graph", "outputs"]},
    }


def schema_text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(bundle_schema(), indent=2, ensure_ascii=False) + "\n"


def _simplify(node: Any) -> Any:
    """Drop null options, titles that repeat a key, and open name patterns."""
    if isinstance(node, list):
        return [_simplify(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _simplify(value) for key, value in node.items()}
    options = [o for o in node.get("anyOf", []) if o != {"type": "null"}]
    if "anyOf" in node and len(options) == 1:
        del node["anyOf"]
        node = {**options[0], **node}
    if "patternProperties" in node:
        node["additionalProperties"] = False
    if isinstance(node.get("title"), str):
        del node["title"]
    if node.get("default", 0) in (None, "", [], {}):
        del node["default"]
    return node


if __name__ == "__main__":
    print(schema_text(), end="")
