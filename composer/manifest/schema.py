"""Generate the JSON Schema of bundles, for editors: `python -m composer.manifest.schema > FILE`."""

from __future__ import annotations

import json
from typing import Any

from composer.core import registry
from composer.manifest import schema_kinds, schema_nodes, schema_patch, schema_rules
from composer.manifest.format import VERSION, BundleFields
from composer.manifest.schema_simplify import simplify

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = f"urn:composer:bundle:{VERSION}"
OURS = "composer."


def bundle_schema(shipped: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of a bundle's manifest with the kinds and operators installed here.

    `shipped` leaves out those of other packages.
    """
    kinds = {}
    for name in registry.component_names():
        try:
            kind = registry.component(name)
        except Exception:  # another package is broken, whichever way: `use` says so when checked
            continue
        if not shipped or kind.__module__.startswith(OURS):
            kinds[name] = kind
    operators = {}
    for name in registry.operator_names():
        try:
            operator = registry.operator(name)
        except Exception:  # as above
            continue
        if not shipped or operator.function.__module__.startswith(OURS):
            operators[name] = operator
    schema = simplify(BundleFields.model_json_schema())
    schema_kinds.add_kinds(schema, kinds)
    schema_nodes.add_nodes(schema, kinds, operators)
    schema_rules.add_rules(schema, operators)
    schema_patch.add_variants(schema)
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": f"Composer bundle, format {VERSION}",
        **schema,
    }


def schema_text(shipped: bool = False) -> str:
    """Return the schema as the text of its file."""
    return json.dumps(bundle_schema(shipped), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(shipped=True), end="")
