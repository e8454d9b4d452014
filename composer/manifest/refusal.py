"""Put what the models refuse into the words that an author reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from composer.core.suggest import did_you_mean, listed, with_nearest
from composer.manifest import format as form
from composer.manifest.tree import shortened

KEY = "[key]"
# Where a value may be one of several types, pydantic puts the type's name into the path.
TAGS = (form.TEXT, form.OTHER)
BRANCH = re.compile(
    r"^[A-Z]\w*$|^(int|str|float|bool)$|^(list|dict|tuple|function|constrained)\b.*[\[(-]"
)
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
    form.NAME: (
        "M125",
        "is not a name",
        "a name is a lower-case letter, then lower-case letters, digits and '_'",
    ),
    form.SLUG: (
        "M125",
        "is not a bundle's name",
        "use lower-case letters, digits and '-', such as mega-asr",
    ),
    form.DOTTED: (
        "M125",
        "is not a kind of component",
        "kinds look like lm or audio.log_mel",
    ),
    form.METHOD: (
        "M134",
        "cannot be run",
        "write a component, component.method, or an operator, without '$'",
    ),
    form.SPACE: ("M134", "is not a space", "write component.space, such as decoder.embed"),
    form.REFERENCE: ("M134", "is not a value of the graph", "write $node or $node.output"),
    form.HUB_ID: ("M134", "is not a hub ID", "write owner/name"),
}


@dataclass(frozen=True)
class Finding:
    """A problem before it has a place: the path of the value, or of its key."""

    code: str
    message: str
    path: tuple[str | int, ...]
    hint: str | None = None
    key: bool = False


def refusals(
    error: ValidationError,
    model: type[BaseModel] = form.BundleModel,
    at: tuple[str | int, ...] = (),
) -> Iterator[Finding]:
    """Yield a finding for each error of a model that stands at the path `at` of a document."""
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
            yield Finding("M124", f"{dotted(path)}: {why}", path)
        elif kind == "null":
            yield Finding(
                "M123", f"{dotted(path)} has no value", path, "give it one, or remove the key"
            )
        elif kind == "literal_error":
            yield _not_a_choice(path, value, context["expected"])
        elif kind.startswith("string_") and kind != "string_type":
            yield _bad_text(path, value, kind, context)
        elif kind == "too_short":
            yield Finding("M124", f"{dotted(path)} is empty", path, "it needs at least one entry")
        elif kind in ("greater_than_equal", "less_than_equal"):
            bound = "at least" if kind[0] == "g" else "at most"
            limit = context.get("ge", context.get("le"))
            yield Finding("M124", f"{dotted(path)} must be {bound} {limit:g}, not {value:g}", path)
        else:
            yield wrong_type(path, TYPES.get(kind, "something else"), value)


def wrong_type(path: tuple[str | int, ...], wanted: str, value: Any) -> Finding:
    """Say which type a value should have and which it has."""
    hint = None
    if value is None:
        hint = "give it a value, or remove the key"
    elif wanted == "text" and isinstance(value, bool | int | float):
        hint = "put it in quotes"
    elif wanted.endswith("number") and isinstance(value, str):
        hint = "write it as a plain number, without quotes"
    return Finding("M123", f"{dotted(path)} should be {wanted}, not {described(value)}", path, hint)


def described(value: Any) -> str:
    """Name a value for a message."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"'{shortened(value)}'"
    return "a list" if isinstance(value, list) else "a mapping"


def dotted(path: tuple[str | int, ...]) -> str:
    """Write a path as components.decoder.use or provenance[0].what."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shortened(text.lstrip(".")) or "the bundle"


def _missing(path: tuple[str | int, ...], model: type[BaseModel] | None) -> Finding:
    *parent, name = path
    field = next((f for k, f in _fields(model).items() if k == name), None)
    hint = f"{name}: {field.description}" if field else None
    message = f"{dotted(tuple(parent))} needs the key '{name}'"
    return Finding("M122", message, tuple(parent), hint, key=True)


def _unknown(path: tuple[str | int, ...], model: type[BaseModel] | None) -> Finding:
    *parent, name = path
    options = list(_fields(model))
    message = f"unknown key '{shortened(str(name))}' in {dotted(tuple(parent))}"
    message = with_nearest(message, str(name), options)
    return Finding("M121", message, path, f"keys here: {listed(options)}", key=True)


def _not_a_choice(path: tuple[str | int, ...], value: Any, expected: str) -> Finding:
    options = re.findall(r"[\w.]+", expected.replace(" or ", " "))
    near = did_you_mean(value, options) if isinstance(value, str) else None
    message = f"{dotted(path)} cannot be {described(value)}"
    hint = f"choose from: {listed(options)}"
    return Finding("M124", f"{message}; {near}" if near else message, path, hint)


def _bad_text(path: tuple[str | int, ...], value: Any, kind: str, context: Any) -> Finding:
    key = path[-1] == KEY
    path = path[:-1] if key else path
    where = dotted(path[:-1] if key else path)
    if kind == "string_too_short":
        return Finding("M124", f"{where} is empty", path, "give it a value", key)
    if kind == "string_too_long":
        limit = context["max_length"]
        what = "a name" if key else "the text"
        message = f"{what} in {where} is longer than {limit} characters"
        return Finding("M130", message, path, key=key)
    code, message, hint = PATTERNS[context["pattern"]]
    return Finding(code, f"'{shortened(value)}' in {where} {message}", path, hint, key)


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    fields = model.model_fields if model else {}
    return {field.alias or name: field for name, field in fields.items()}


def _model_at(path: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    kind: Any = model
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = _fields(kind).get(str(part))
            kind = _unwrapped(field.annotation) if field else None
        else:
            kind = _unwrapped(get_args(kind)[-1]) if get_args(kind) else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _unwrapped(kind: Any) -> Any:
    """Look through Annotated, and through a union at its mapping or list."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        kinds = [_unwrapped(option) for option in get_args(kind)]
        return next((k for k in kinds if get_origin(k) in (dict, list) or _is_model(k)), kinds[0])
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
