"""Translate pydantic's validation errors into messages for an author."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from composer.core.suggest import did_you_mean, listed, with_nearest
from composer.manifest import fields
from composer.manifest.format import BundleFields
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
            yield _missing(path, _model_at(inner[:-1], model))
        elif kind == "extra_forbidden":
            yield _unknown(path, _model_at(inner[:-1], model))
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
            yield wrong_type_fault(path, TYPES.get(kind, "something else"), value)


def wrong_type_fault(path: tuple[str | int, ...], expected: str, value: Any) -> Fault:
    """Return the finding for a value of the wrong type."""
    hint = None
    if value is None:
        hint = "give it a value, or remove the key"
    elif expected == "text" and isinstance(value, bool | int | float):
        hint = "put it in quotes"
    elif expected.endswith("number") and isinstance(value, str):
        hint = "write it as a plain number, without quotes"
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
    field = _fields(model).get(str(name))
    hint = f"{name}: {field.description}" if field else None
    message = f"{format_path(tuple(parent))} needs the key '{name}'"
    return Fault("M122", message, tuple(parent), hint, key=True)


def _unknown(path: tuple[str | int, ...], model: type[BaseModel] | None) -> Fault:
    *parent, name = path
    options = list(_fields(model))
    message = f"unknown key '{shortened(str(name))}' in {format_path(tuple(parent))}"
    message = with_nearest(message, str(name), options)
    return Fault("M121", message, path, f"keys here: {listed(options)}", key=True)


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


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    """Return the fields of a model by the keys of the file."""
    if model is None:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_at(path: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    kind: Any = model
    for part in path:
        if _is_model(kind):
            field = _fields(kind).get(str(part))
            inner = field.annotation if field else None
        else:
            *_, inner = get_args(kind) or [None]
        kind = _unwrap(inner)
    return kind if _is_model(kind) else None


def _unwrap(kind: Any) -> Any:
    """Unwrap Annotated, and pick the mapping or list of a union."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        kinds = [_unwrap(option) for option in get_args(kind)]
        return next((k for k in kinds if get_origin(k) in (dict, list) or _is_model(k)), kinds[0])
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
