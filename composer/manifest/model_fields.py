"""Find the model that describes a mapping of a document, and its keys."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


def fields_by_key(model: type[BaseModel] | None) -> dict[str, Any]:
    """Return the fields of a model by the keys of the file."""
    if model is None:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_at(path: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model of the mapping at a path below a model, None where there is none."""
    kind: Any = model
    for part in path:
        if _is_model(kind):
            field = fields_by_key(kind).get(str(part))
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
