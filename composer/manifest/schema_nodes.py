"""Describe in JSON Schema what a node may run, and what may be wired to it.

A schema cannot look up a component's kind by its name, so that a method takes here what any kind
with a method of this name takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from pydantic import TypeAdapter

from composer.core.call_signature import CALL, CallSignature, Option
from composer.core.component import Component
from composer.core.operator import Operator
from composer.manifest.fields import REFERENCE
from composer.manifest.schema_simplify import any_of, if_key, simplify, without_duplicates

Kinds = Mapping[str, type[Component]]
WIRE = {"$ref": "#/$defs/Wire"}
TEXT = {"$ref": "#/$defs/TextOrWire"}
LITERAL_TEXT = r"^(?!\$)|^\$\$"
DEFINITIONS = {
    "Wire": {
        "description": "A value of the graph: $node, $node.output or $input.",
        "type": "string",
        "pattern": REFERENCE,
    },
    "TextOrWire": {
        "description": "A text, or a value of the graph: $node, $node.output or $input.",
        "type": "string",
        "pattern": f"{LITERAL_TEXT}|{REFERENCE}",
    },
}


def add_nodes(schema: dict[str, Any], kinds: Kinds, operators: Mapping[str, Operator]) -> None:
    """Let `run` choose what `with` takes."""
    model = schema["$defs"]["NodeFields"]
    schema["$defs"] |= DEFINITIONS
    methods = _methods(kinds)
    calls = methods.pop(CALL, [])
    named = "|".join(sorted(methods))
    run = model["properties"]["run"]
    operator_names = sorted(operators)
    model["properties"]["run"] = {
        "description": run["description"],
        "type": "string",
        "maxLength": run["maxLength"],
        "pattern": rf"^(?!({'|'.join(operator_names)})\.)[a-z][a-z0-9_]*(\.({named}))?$",
        "examples": [*operator_names, *(f"decoder.{name}" for name in methods)],
    }
    conditions = []
    for name, operator in operators.items():
        conditions.append(if_key("run", {"const": name}, _call([operator.signature])))
    for name, found in methods.items():
        conditions.append(if_key("run", {"pattern": rf"\.{name}$"}, _call(found)))
    plain = {"pattern": r"^[^.]*$", "not": {"enum": operator_names}}
    conditions.append(if_key("run", plain, _open_call(calls)))
    model["allOf"] = conditions


def _methods(kinds: Kinds) -> dict[str, list[CallSignature]]:
    """Return the methods of all kinds by name."""
    found: dict[str, list[CallSignature]] = {}
    for kind in kinds.values():
        for name, signature in kind.methods.items():
            if signature not in found.setdefault(name, []):
                found[name].append(signature)
    return dict(sorted(found.items()))


def _call(signatures: list[CallSignature]) -> dict[str, Any]:
    """Return what a node with one of these signatures is."""
    needed = set.intersection(*map(_needed, signatures))
    with_: dict[str, Any] = {"properties": _values(signatures), "additionalProperties": False}
    if needed:
        with_["required"] = sorted(needed)
    elif all(each.inputs for each in signatures):
        with_["anyOf"] = _alternatives(signatures)
    rules = without_duplicates(dict(rule) for each in signatures for rule in each.option_rules)
    if rules:
        with_["allOf"] = rules
    whole: dict[str, Any] = {"properties": {"with": with_}}
    if needed or "anyOf" in with_:
        whole["required"] = ["with"]
    return whole


def _alternatives(signatures: list[CallSignature]) -> list[dict[str, Any]]:
    """Return what a call has at least, by one signature or another: all it needs, or any input."""
    found = []
    for each in signatures:
        needed = sorted(_needed(each))
        for names in [needed] if needed else [[name] for name in sorted(each.inputs)]:
            found.append({"required": names})
    return without_duplicates(found)


def _open_call(signatures: list[CallSignature]) -> dict[str, Any]:
    """Return what a node is that runs a component: its inputs may come from its files."""
    options = set(chain.from_iterable(signature.options for signature in signatures))
    values = {}
    for name, schema in _values(signatures).items():
        if name in options:
            values[name] = {"anyOf": [TEXT, schema]}
    slots = {"anyOf": [TEXT, {"type": "array", "items": WIRE, "minItems": 1}]}  # of a prompt
    return {"properties": {"with": {"properties": values, "additionalProperties": slots}}}


def _needed(signature: CallSignature) -> set[str]:
    options = set()
    for name, option in signature.options.items():
        if option.default is inspect.Parameter.empty:
            options.add(name)
    return (signature.inputs.keys() - signature.optional) | options


def _values(signatures: Iterable[CallSignature]) -> dict[str, Any]:
    """Return what each input and option takes, by name."""
    found: dict[str, list[dict[str, Any]]] = {}
    takes: dict[str, Any]
    for signature in signatures:
        for name, ports in signature.inputs.items():
            takes = TEXT if any(port.kind == "text" for port in ports) else WIRE
            if name in signature.several:
                takes = {"type": "array", "items": takes, "minItems": 1}
            found.setdefault(name, []).append(takes)
            if name in signature.repeated:
                items = {"type": "array", "items": takes, "minItems": 1}
                found[name].append(items)
        for name, option in signature.options.items():
            found.setdefault(name, []).append(_option(option))
    return {name: any_of(schemas) for name, schemas in found.items()}


def _option(option: Option) -> dict[str, Any]:
    """Return the schema of an option's literal; a text that begins with $ is a wire."""
    schema: dict[str, Any] = simplify(TypeAdapter(option.annotation).json_schema(), nulls=True)
    if schema.get("type") == "string" and "enum" not in schema:
        schema["not"] = {"pattern": r"^\$"}
    if option.default not in (inspect.Parameter.empty, None, (), ""):
        schema["default"] = option.default
    return schema
