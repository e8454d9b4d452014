"""Translate pydantic's validation errors into messages for an author."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from composer.core.suggest import did_you_mean, listed
from composer.manifest import fields
from composer.manifest.format import BundleFields
from composer.manifest.likely_keys import PLACEMENT, PLACEMENT_HINT, likely_key
from composer.manifest.model_fields import fields_by_key, model_at
from composer.manifest.tree import shortened

KEY = "[key]"
# Where a value may be one of several types, pydantic puts the type's name into the path.
TAGS = (fields.TEXT, fields.OTHER)
BRANCH = re.compile(
    r"^[A-Z]\w*$|^(int|str|float|bool)$|^(list|dict|tuple|function|constrained)\b.*[\[(-]"
)
# What other libraries call the dtypes.
DTYPES = {
    **dict.fromkeys(("fp32", "f32", "float", "single"), "float32"),
    **dict.fromkeys(("fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("bf16", "bfloat"), "bfloat16"),
}
TYPES = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "list_type": "a list",
    "tuple_type": "a list",
}
PATTERNS = {
    fields.NAME: (
        "M125",
        "is not a name",
        "a name is a lower-case letter, then lower-case letters, digits and '_'",
    ),
    fields.SLUG: (
        "M125",
        "is not a bundle's name",
        "use lower-case letters, digits and '-', such as mega-asr",
    ),
    fields.DOTTED: (
        "M125",
        "is not a kind of component",
        "kinds look like lm or audio.log_mel",
    ),
    fields.METHOD: (
        "M134",
        "cannot be run",
        "write a component, component.method, or an operator, without '$'",
    ),
    fields.SPACE: ("M134", "is not a space", "write component.space, such as decoder.embed"),
    fields.REFERENCE: ("M134", "is not a value of the graph", "write $node or $node.output"),
    fields.LINT: ("M125", "is not a lint", "a lint's code is L3 and two digits, such as L340"),
    fields.REQUIREMENT: (
        "M125",
        "is not a package",
        "write a package's name and its versions, such as my-package>=1.2,<2",
    ),
    fields.OUTPUT: (
        "M125",
        "is not an output's name",
        "outputs have letters, digits and '_'",
    ),
    fields.HUB_ID: ("M134", "is not a hub ID", "write owner/name"),
}


@dataclass(frozen=True)
class Fault:
    """A problem before it has a place: the path of the value, or of its key."""

    code: str
    message: str
    path: tuple[str | int, ...]
    hint: str | None = None
    key: bool = False


def validation_faults(
    error: ValidationError,
    model: type[BaseModel] = BundleFields,
    at: tuple[str | int, ...] = (),
) -> Iterator[Fault]:
    """Yield a finding for each error of a model at the path `at` of a document."""
    for item in error.errors(include_url=False):
        inner = tuple(part for part in item["loc"] if part not in TAGS)
        if at:
            inner = tuple(part for part in inner if not BRANCH.search(str(part)))
        path = (*at, *inner)
        kind, value, context = item["type"], item["input"], item.get("ctx", {})
        if kind == "missing":
            yield _missing(path, model_at(inner[:-1], model))
        elif kind == "extra_forbidden":
            yield _unknown(path, model_at(inner[:-1], model))
        elif kind == "value_error":
            why = str(context["error"])
            yield Fault("M124", f"{format_path(path)}: {why}", path)
        elif kind == "null":
            yield Fault(
                "M123", f"{format_path(path)} has no value", path, "give it one, or remove the key"
            )
        elif kind == "literal_error":
            yield _not_a_choice(path, value, context["expected"])
        elif kind.startswith("string_") and kind != "string_type":
            yield _bad_text(path, value, kind, context)
        elif kind in ("too_short", "too_long") and context.get("min_length") != 1:
            count = context.get("min_length", context.get("max_length"))
            message = f"{format_path(path)} should have {count} items, not {len(value)}"
            yield Fault("M124", message, path)
        elif kind == "too_short":
            yield Fault(
                "M124", f"{format_path(path)} is empty", path, "it needs at least one entry"
            )
        elif kind in ("greater_than_equal", "less_than_equal"):
            bound = "at least" if kind[0] == "g" else "at most"
            limit = context.get("ge", context.get("le"))
            yield Fault(
                "M124", f"{format_path(path)} must be {bound} {limit:g}, not {value:g}", path
            )
        else:
            keys = list(fields_by_key(model_at(inner, model)))
            yield wrong_type_fault(path, TYPES.get(kind, "something else"), value, keys)


def wrong_type_fault(
    path: tuple[str | int, ...], expected: str, value: Any, keys: Sequence[str] = ()
) -> Fault:
    """Return the finding for a value of the wrong type; a mapping there would have these keys."""
    hint = None
    if value is None:
        hint = "give it a value, or remove the key"
    elif expected == "text" and isinstance(value, bool | int | float):
        hint = "put it in quotes"
    elif expected.endswith("number") and isinstance(value, str):
        hint = "write it as a plain number, without quotes"
    elif expected.startswith("a mapping"):
        hint = f"its keys: {listed(keys)}" if keys else "write each entry as name: value"
    elif expected == "a list":
        hint = "a list stands in brackets: [a, b]"
    return Fault(
        "M123", f"{format_path(path)} should be {expected}, not {describe(value)}", path, hint
    )


def describe(value: Any) -> str:
    """Describe a value for a message."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"'{shortened(value)}'"
    if isinstance(value, list):
        return "a list"
    return "a mapping"


def format_path(path: tuple[str | int, ...]) -> str:
    """Write a path as components.decoder.use or provenance[0].what."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return shortened(text.lstrip(".")) or "the bundle"


def _missing(path: tuple[str | int, ...], model: type[BaseModel] | None) -> Fault:
    *parent, name = path
    field = fields_by_key(model).get(str(name))
    hint = f"{name}: {field.description}" if field else None
    message = f"{format_path(tuple(parent))} needs the key '{name}'"
    return Fault("M122", message, tuple(parent), hint, key=True)


def _unknown(path: tuple[str | int, ...], model: type[BaseModel] | None) -> Fault:
    *parent, name = path
    options = list(fields_by_key(model))
    message = f"unknown key '{shortened(str(name))}' in {format_path(tuple(parent))}"
    meant = likely_key(str(name), options)
    if meant:
        message = f"{message}; did you mean '{meant}'?"
    hint = f"keys here: {listed(options)}"
    if name in PLACEMENT and "use" in options:
        hint = PLACEMENT_HINT
    return Fault("M121", message, path, hint, key=True)


def _not_a_choice(path: tuple[str | int, ...], value: Any, expected: str) -> Fault:
    options = re.findall(r"[\w.-]+", expected.replace(" or ", " "))
    near = None
    if isinstance(value, str) and DTYPES.get(value.lower()) in options:
        near = f"write {DTYPES[value.lower()]}"
    elif isinstance(value, str):
        near = did_you_mean(value, options)
    message = f"{format_path(path)} cannot be {describe(value)}"
    if len(path) > 1 and path[-2] == "inputs" and not near:
        hint = f"write a type, one of {listed(options)}, or {{type: text, default: ...}}"
        return Fault("M124", message, path, hint)
    if near:
        message = f"{message}; {near}"
    return Fault("M124", message, path, f"choose from: {listed(options)}")


def _bad_text(path: tuple[str | int, ...], value: Any, kind: str, context: Any) -> Fault:
    key, what, where = False, "the text", format_path(path)
    if path[-1] == KEY:
        path = path[:-1]
        key, what, where = True, "a name", format_path(path[:-1])
    if kind == "string_too_short":
        return Fault("M124", f"{where} is empty", path, "give it a value", key)
    if kind == "string_too_long":
        limit = context["max_length"]
        message = f"{what} in {where} is longer than {limit} characters"
        return Fault("M130", message, path, key=key)
    code, message, hint = PATTERNS[context["pattern"]]
    return Fault(code, f"'{shortened(value)}' in {where} {message}", path, hint, key)
