"""Describe settings that pydantic checks: type, default, range, and what is inside."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from composer.core.component import Component

EMPTY = inspect.Parameter.empty


def config_field_texts(kind: type[Component]) -> dict[str, str]:
    """Return the settings of a component by name: type, default, range and description."""
    return {name: _described_field(field) for name, field in kind.Config.model_fields.items()}


def _described_field(field: FieldInfo) -> str:
    """Return what a field takes and what it is for, in one line."""
    return describe_with_default(field, EMPTY if field.is_required() else _default(field))


def describe_with_default(field: FieldInfo, default: Any) -> str:
    """Return what a field with a default takes and what it is for, in one line."""
    value = _value_of(field, default)
    if field.description:
        value = f"{value}. {field.description}"
    return value


def nested_field_lines(model: type[BaseModel], indent: str = "") -> Iterator[str]:
    """Yield a line for each setting, and below one that is a mapping those of its keys."""
    for name, field in fields_of(model).items():
        yield f"{indent}- {name}: {_described_field(field)}"
        for inner in nested_models(field.annotation):
            yield from nested_field_lines(inner, f"{indent}  ")


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the keys that one writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def find_field(choices: Iterable[type[BaseModel]], path: Sequence[str]) -> FieldInfo | None:
    """Return the field at a path below one of several models; None where there is none.

    A key of the author's choice, such as a component's name, may stand in the path or be left out.
    """
    for model in choices:
        if path[0] in fields_of(model):
            return _find_below(fields_of(model)[path[0]], path[1:])
    return None


def _find_below(field: FieldInfo, path: Sequence[str]) -> FieldInfo | None:
    if not path:
        return field
    below = list(nested_models(field.annotation))
    found = find_field(below, path)
    if found is None and len(path) > 1:
        found = find_field(below, path[1:])
    return found


def field_page(title: str, field: FieldInfo) -> Iterator[str]:
    """Yield the page of one setting: what it takes, what it is for, and what is inside."""
    yield f"# {title}"
    yield ""
    yield _described_field(field)
    for example in field.examples or ():
        yield f"Example: {json.dumps(example)}"
    for model in nested_models(field.annotation):
        about = inspect.getdoc(model)
        yield ""
        if about:
            yield about
            yield ""
        yield from nested_field_lines(model)


def nested_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the mappings of known keys that a type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from nested_models(inside)


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _value_of(field: FieldInfo, default: Any) -> str:
    """Return what may be given: int = 256, 1 to 1000000."""
    text = _type(field.annotation)
    if default is not EMPTY:
        text += f" = {default!r}"
    span = _range(field.metadata)
    if span:
        text += f", {span}"
    return text


def _type(annotation: Any) -> str:
    """Return a type as one writes it in Python, a choice of literals as the literals."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin is Literal:
        return " | ".join(map(repr, inside))
    if origin in (Union, UnionType):
        return " | ".join(map(_type, inside))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type, inside))}]"
    if annotation in (None, NoneType):
        return "None"
    if next(nested_models(annotation), None):
        return "mapping"
    if annotation is ...:
        return "..."
    return str(getattr(annotation, "__name__", annotation))


def _range(constraints: list[Any]) -> str:
    """Return the numbers that constraints allow: 1 to 64, 0 or more, above 0 and at most 1."""
    ends = {}
    for each in constraints:
        for end in ("ge", "gt", "le", "lt"):
            if getattr(each, end, None) is not None:
                ends[end] = getattr(each, end)
    if ends.keys() == {"ge", "le"}:
        return f"{ends['ge']} to {ends['le']}"
    if ends.keys() == {"ge"}:
        return f"{ends['ge']} or more"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{word} {ends[end]}" for end, word in words.items() if end in ends)
