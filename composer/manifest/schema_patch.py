"""Describe in JSON Schema a variant: any part of a bundle, and null for what it removes."""

from __future__ import annotations

from typing import Any

from composer.manifest.rules import FIXED
from composer.manifest.schema_simplify import NULL

# A recipe stands for itself: a patch replaces it whole.
PATCHED = (
    "ComponentFields",
    "LoraAdapter",
    "InputFields",
    "SplitFields",
    "NodeFields",
    "TaskFields",
)
_LIKE = {"properties": {"like": {"type": "string"}}, "$ref": "#/$defs/TaskPatch"}
KEPT = ("type", "description", "additionalProperties", "propertyNames")


def add_variants(schema: dict[str, Any]) -> None:
    """Let each variant be a merge patch of the bundle."""
    definitions = schema["$defs"]
    definitions |= {_name(each): _patch(definitions[each]) for each in PATCHED}
    whole = _patch(schema)
    for key in FIXED:
        del whole["properties"][key]
    whole["description"] = "What differs in this edition, as a JSON merge patch."
    definitions[_name("BundleFields")] = whole
    tasks = schema["properties"]["tasks"]["patternProperties"]
    for name, task in tasks.items():
        tasks[name] = {"if": {"required": ["like"]}, "then": _LIKE, "else": task}
    variants = schema["properties"]["variants"]["patternProperties"]
    for name in variants:
        variants[name] = {"$ref": f"#/$defs/{_name('BundleFields')}"}


def _name(model: str) -> str:
    return model.replace("Fields", "") + "Patch"


def _patch(node: dict[str, Any]) -> dict[str, Any]:
    """Return what may stand in a patch in place of a value: no key is needed, null removes one."""
    reference = node.get("$ref", "").removeprefix("#/$defs/")
    if reference in PATCHED:
        return {"$ref": f"#/$defs/{_name(reference)}"}
    if "oneOf" in node:
        about = {key: node[key] for key in ("description",) if key in node}
        return {**about, "anyOf": [_patch(each) for each in node["oneOf"]]}
    if "properties" not in node and "patternProperties" not in node:
        return node
    made = {key: node[key] for key in KEPT if key in node}
    for group in ("properties", "patternProperties"):
        if group in node:
            made[group] = {key: _or_null(_patch(each)) for key, each in node[group].items()}
    return made


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, NULL]}
