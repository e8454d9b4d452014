"""Explain an error's code or a kind of component in full."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from composer.core import registry
from composer.core.errors import ComposerError, Problem
from composer.core.signature import CALL
from composer.core.suggest import did_you_mean
from composer.sources.shipped import shipped

if TYPE_CHECKING:
    from composer.core.component import Component
    from composer.core.signature import Signature

CODE = re.compile(r"[A-Za-z]\d{3}")
EMPTY = inspect.Parameter.empty


def titles() -> dict[str, str]:
    """Return the title of every code that has a page."""
    found = {}
    for path in sorted(shipped("pages").glob("[A-Z][0-9][0-9][0-9].md")):
        with path.open(encoding="utf-8") as file:
            found[path.stem] = file.readline().strip().removeprefix(f"# {path.stem} ")
    return found


def explain(name: str) -> str:
    """Return the page of a code, a component or a family; raise ComposerError for what is none."""
    if name.upper() in titles():
        return (shipped("pages") / f"{name.upper()}.md").read_text("utf-8").rstrip()
    if name in registry.names():
        return "\n".join(_component(registry.component(name)))
    if name in registry.operators():
        operator = registry.operator(name)
        return "\n".join([f"# {name}", "", operator.summary, "", *_ports(operator.signature)])
    if registry.family(name):
        return "\n".join(_family(name))
    options = (
        titles()
        if CODE.fullmatch(name)
        else (*registry.names(), *registry.uses(), *registry.operators())
    )
    hint = did_you_mean(name, options)
    listing = "composer explain lists the codes, composer list --components the kinds"
    raise ComposerError(
        Problem(
            "R545",
            f"'{name}' is not an error's code, a kind of component or an operator",
            hint=f"{hint} {listing}" if hint else listing,
        )
    )


def index() -> str:
    """Return every code with its title, a line each."""
    return "\n".join(f"{code}  {title}" for code, title in titles().items())


def knobs(kind: type[Component]) -> dict[str, str]:
    """Return the knobs of a component by name: type, default, range and description."""
    return {name: _knob(field) for name, field in kind.Config.model_fields.items()}


def _knob(field: FieldInfo) -> str:
    value = _value(field, EMPTY if field.is_required() else _default(field))
    return f"{value}. {field.description}" if field.description else value


def _nested(model: type[BaseModel], indent: str = "") -> Iterator[str]:
    """Yield a line for each knob, and below one that is a mapping those of its keys."""
    for name, field in model.model_fields.items():
        yield f"{indent}- {name}: {_knob(field)}"
        for inner in _models(field.annotation):
            yield from _nested(inner, f"{indent}  ")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the mappings of known keys that a type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from _models(inside)


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _family(name: str) -> Iterator[str]:
    yield f"# {name}"
    yield ""
    yield "A family: `use` may name it, and the backend that suits the machine best runs it."
    yield ""
    kinds = registry.family(name).values()
    yield from (f"- {kind}: {registry.component(kind).summary}" for kind in kinds)
    yield ""
    yield f"`composer explain {next(iter(kinds))}` describes one of them."
    yield "`composer plan` tells which of them a bundle takes, and why."


def _component(kind: type[Component]) -> Iterator[str]:
    yield f"# {kind.name}"
    yield ""
    yield inspect.getdoc(kind) or ""
    yield ""
    yield f"Backend: {kind.backend}."
    keys = [f"{key} (needed)" for key in sorted(kind.requires)]
    keys += sorted(kind.accepts - kind.requires)
    yield f"Keys beside use, config and emits: {', '.join(keys) or 'none'}."
    if kind.Config.model_fields:
        yield ""
        yield "## Knobs (under config)"
        yield ""
        yield from _nested(kind.Config)
    for name, signature in kind.methods.items():
        yield ""
        yield f"## {kind.name}" if name == CALL else f"## .{name}"
        yield ""
        yield from _ports(signature)


def _ports(signature: Signature) -> Iterator[str]:
    for name, ports in signature.inputs.items():
        optional = " (may be left out)" if name in signature.optional else ""
        yield f"- takes {name}: {' | '.join(str(port) or 'float' for port in ports)}{optional}"
    for name, option in signature.options.items():
        field = FieldInfo.from_annotation(option.annotation)
        description = f". {field.description}" if field.description else ""
        yield f"- option {name}: {_value(field, option.default)}{description}"
    for name, port in signature.returns.items():
        yield f"- gives {name}: {str(port) or 'float'}"


def _value(field: FieldInfo, default: Any) -> str:
    """Return what may be given: int = 256, 1 to 1000000."""
    text = _type(field.annotation) + ("" if default is EMPTY else f" = {default!r}")
    span = _range(field.metadata)
    return f"{text}, {span}" if span else text


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
    if next(_models(annotation), None):
        return "mapping"
    return "..." if annotation is ... else str(getattr(annotation, "__name__", annotation))


def _range(constraints: list[Any]) -> str:
    """Return the numbers that constraints allow: 1 to 64, 0 or more, above 0 and at most 1."""
    ends = {
        end: getattr(each, end)
        for each in constraints
        for end in ("ge", "gt", "le", "lt")
        if getattr(each, end, None) is not None
    }
    if ends.keys() == {"ge", "le"}:
        return f"{ends['ge']} to {ends['le']}"
    if ends.keys() == {"ge"}:
        return f"{ends['ge']} or more"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{word} {ends[end]}" for end, word in words.items() if end in ends)
