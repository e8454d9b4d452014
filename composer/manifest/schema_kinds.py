"""Describe in JSON Schema what each kind of component reads: its keys and its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from composer.core import registry
from composer.core.component import Component
from composer.core.family import Family
from composer.manifest.schema_simplify import any_of, if_key, simplify

KEYS = ("weights", "files", "precision", "adapters")
Kinds = Mapping[str, type[Component]]


def add_kinds(schema: dict[str, Any], kinds: Kinds) -> None:
    """Let `use` choose what a component's other keys may be."""
    model = schema["$defs"]["ComponentFields"]
    uses = _uses(kinds)
    choices = []
    for name, found in sorted(uses.items()):
        choices.append({"const": name, "description": found[0].summary})
    use = model["properties"]["use"]
    model["properties"]["use"] = {"description": use["description"], "anyOf": choices}
    by_contract: dict[str, list[str]] = {}
    for name, found in uses.items():
        contract = any_of(_contract(kind, schema["$defs"]) for kind in found)
        by_contract.setdefault(json.dumps(contract), []).append(name)
    model["allOf"] = []
    for text, names in by_contract.items():
        model["allOf"].append(if_key("use", {"enum": sorted(names)}, json.loads(text)))


def _uses(kinds: Kinds) -> dict[str, list[type[Component]]]:
    """Return what `use` may say, with the kinds that each may mean."""
    uses = {name: [kind] for name, kind in kinds.items()}
    for name, kind in kinds.items():
        backend, _, family = name.partition(".")
        if backend in registry.backend_names():
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
    if name not in definitions:
        _define(kind, name, definitions)
    needed = sorted(kind.requires)
    if "required" in config:
        needed.append("config")
    if not needed:
        return {"properties": properties}
    return {"properties": properties, "required": needed}


def _own_name(kind: type[Component]) -> str:
    """Return the name of a kind, or of its family where all backends have the same settings."""
    if issubclass(kind, Family):
        return kind.name.partition(".")[2]
    return kind.name


def _define(kind: type[Component], name: str, definitions: dict[str, Any]) -> None:
    """Add the schema of a kind's config and of the models inside it."""
    template = f"#/$defs/{name}.{{model}}"
    config = simplify(kind.Config.model_json_schema(ref_template=template), nulls=True)
    inner = config.pop("$defs", {})
    definitions[name] = config
    definitions |= {f"{name}.{model}": each for model, each in inner.items()}
