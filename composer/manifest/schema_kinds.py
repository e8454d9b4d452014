"""Describe in JSON Schema what each kind of component reads: its keys and its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from composer.core import registry
from composer.core.component import Component
from composer.core.family import Portable
from composer.manifest.schema_simplify import simplify, when

KEYS = ("weights", "files", "precision", "adapters")
Kinds = Mapping[str, type[Component]]


def add(schema: dict[str, Any], kinds: Kinds) -> None:
    """Let `use` choose what a component's other keys may be."""
    model = schema["$defs"]["ComponentModel"]
    uses = _uses(kinds)
    choices = [
        {"const": use, "description": found[0].summary} for use, found in sorted(uses.items())
    ]
    use = model["properties"]["use"]
    model["properties"]["use"] = {"description": use["description"], "anyOf": choices}
    by_contract: dict[str, list[str]] = {}
    for name, found in uses.items():
        contracts = {json.dumps(_contract(kind, schema["$defs"])): None for kind in found}
        options = [json.loads(text) for text in contracts]
        contract = options[0] if len(options) == 1 else {"anyOf": options}
        by_contract.setdefault(json.dumps(contract), []).append(name)
    model["allOf"] = [
        when("use", {"enum": sorted(names)}, json.loads(contract))
        for contract, names in by_contract.items()
    ]


def _uses(kinds: Kinds) -> dict[str, list[type[Component]]]:
    """Return what `use` may say, with the kinds that each may mean."""
    uses = {name: [kind] for name, kind in kinds.items()}
    for name, kind in kinds.items():
        backend, _, family = name.partition(".")
        if backend in registry.backends():
            uses.setdefault(family, []).append(kind)
    return uses


def _contract(kind: type[Component], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return what a component of a kind must and may not have, and what its config is."""
    config = kind.Config.model_json_schema()
    name = _own_name(kind)
    properties: dict[str, Any] = {"config": {"$ref": f"#/$defs/{name}"}}
    for key in KEYS:
        if key not in kind.requires | kind.accepts:
            properties[key] = {"maxProperties": 0} if key == "adapters" else False
    needed = sorted(kind.requires) + (["config"] if "required" in config else [])
    if name not in definitions:
        _define(kind, name, definitions)
    return {"properties": properties, **({"required": needed} if needed else {})}


def _own_name(kind: type[Component]) -> str:
    """Return the name of a kind, or of its family where all backends have the same settings."""
    return kind.name.partition(".")[2] if issubclass(kind, Portable) else kind.name


def _define(kind: type[Component], name: str, definitions: dict[str, Any]) -> None:
    """Add the schema of a kind's config and of the models inside it."""
    template = f"#/$defs/{name}.{{model}}"
    config = simplify(kind.Config.model_json_schema(ref_template=template), nulls=True)
    inner = config.pop("$defs", {})
    definitions[name] = config
    definitions |= {f"{name}.{model}": each for model, each in inner.items()}
