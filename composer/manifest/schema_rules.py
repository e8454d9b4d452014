"""Describe in JSON Schema what `check_rules` checks between the keys of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.core.operator import Operator
from composer.core.ports import DTYPES, KINDS
from composer.manifest.rules import MAX_TEXT, MOST_VARIANTS, RESERVED, SHORTHAND
from composer.manifest.schema_simplify import if_key

# Characters of a path's part; neither '.' nor '..' is one.
_PART = r"(?!\.{1,2}(/|$))[^/\\\x00-\x1f\x7f]+"
_HUB_NAME = r"(?!.*(\.\.|--.*@|--[^@]*$))[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
HUB = rf"hf:{_HUB_NAME}(@[A-Za-z0-9][A-Za-z0-9._/-]*)?"
SOURCE = rf"^({HUB}|\./?|\./{_PART}(/{_PART})*/?)$"
INSIDE = rf"^[a-z][a-z0-9_]*(/{_PART})*$"
DIM = r"([0-9]+|[A-Za-z][A-Za-z0-9_]*|_)"
PORT = rf"^\s*({'|'.join(DTYPES)})(\s+{DIM})*\s*$"
SPACE = r"@[A-Za-z_][A-Za-z0-9_.]*"
EXPECTED = rf"^\s*({'|'.join((*KINDS, *DTYPES))}|{DIM})(\s+{DIM})*(\s+{SPACE})?\s*$"
AUDIO_ONLY = ("split", "channel")
WITHOUT_PORT = ["audio", "text", "ids", "mask", "image", "images"]


def add_rules(schema: dict[str, Any], operators: Mapping[str, Operator]) -> None:
    """Add each rule where it belongs."""
    definitions, properties = schema["$defs"], schema["properties"]
    for model in ("ComponentFields", "LoraAdapter"):
        for key in ("weights", "files"):
            if key in definitions[model]["properties"]:
                definitions[model]["properties"][key]["pattern"] = INSIDE
    for source in properties["sources"]["patternProperties"].values():
        source["pattern"] = SOURCE
    properties["components"]["propertyNames"]["not"] = {"enum": sorted(operators)}
    properties["variants"]["maxProperties"] = MOST_VARIANTS
    definitions["InputFields"]["allOf"] = _input_rules()
    tasks: list[dict[str, Any]] = [schema, definitions["TaskFields"]]
    for owner in tasks:
        inputs = owner["properties"]["inputs"]
        inputs["propertyNames"]["not"] = {"enum": list(RESERVED)}
        _short_form(inputs)
    node = definitions["NodeFields"]["properties"]
    for expected in node["expect"]["patternProperties"].values():
        expected["pattern"] = EXPECTED
    node["range"] |= {"items": {"type": ["number", "null"]}, "not": {"const": [None, None]}}
    schema |= _tasks_or_graph()


def _tasks_or_graph() -> dict[str, Any]:
    """Return that a bundle has either tasks, or the graph and outputs of one."""
    conflicting = [{"required": [key]} for key in SHORTHAND]
    return {
        "if": {"required": ["tasks"]},
        "then": {"not": {"anyOf": conflicting}},
        "else": {"required": ["graph", "outputs"]},
    }


def _short_form(inputs: dict[str, Any]) -> None:
    """Take the types that need more than their name from the short form of an input."""
    for value in inputs["patternProperties"].values():
        for form in value["oneOf"]:
            if "enum" in form:
                form["enum"] = [each for each in form["enum"] if each in WITHOUT_PORT]


def _input_rules() -> list[dict[str, Any]]:
    whole = {"type": "integer"}
    mark = {"enum": [True, False, 0, 1]}
    refused = {"default": False}
    return [
        if_key("type", {"const": "tensor"}, {"required": ["port"], "properties": refused}),
        if_key("type", {"enum": WITHOUT_PORT}, {"properties": {"port": False}}),
        if_key("type", {"enum": ["audio", "image", "images"]}, {"properties": refused}),
        if_key(
            "type", {"not": {"const": "audio"}}, {"properties": dict.fromkeys(AUDIO_ONLY, False)}
        ),
        if_key("type", {"const": "text"}, _default({"type": "string", "maxLength": MAX_TEXT})),
        if_key("type", {"const": "ids"}, _default({"type": "array", "items": whole})),
        if_key("type", {"const": "mask"}, _default({"type": "array", "items": mark})),
        {"properties": {"port": {"pattern": PORT}}},
    ]


def _default(schema: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"default": schema}}
