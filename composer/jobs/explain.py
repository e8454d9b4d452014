"""Explain an error's code, a kind of component, a setting, an operator or a manifest's key."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from composer.core import registry
from composer.core.call_signature import CALL
from composer.core.errors import ComposerError, Problem
from composer.core.ports import Ports
from composer.core.suggest import did_you_mean
from composer.jobs.config_fields import (
    describe_with_default,
    field_page,
    fields_of,
    find_field,
    nested_field_lines,
    nested_models,
)
from composer.manifest.format import BundleFields
from composer.manifest.recipes import recipes
from composer.sources.shipped import shipped_folder

if TYPE_CHECKING:
    from composer.core.call_signature import CallSignature, Option
    from composer.core.component import Component

CODE = re.compile(r"[A-Za-z]\d{3}")


def error_titles() -> dict[str, str]:
    """Return the title of every code that has a page."""
    found = {}
    for path in sorted(shipped_folder("pages").glob("[A-Z][0-9][0-9][0-9].md")):
        with path.open(encoding="utf-8") as file:
            found[path.stem] = file.readline().strip().removeprefix(f"# {path.stem} ")
    return found


def explain(name: str) -> str:
    """Return the page of a name; raise ComposerError where there is none.

    A name is an error's code, a kind of component or a family, one of its methods or settings
    (`audio.log_mel.pad`), an operator, or a key of a manifest (`emits`, `inputs.split`).
    """
    if name.upper() in error_titles():
        return (shipped_folder("pages") / f"{name.upper()}.md").read_text("utf-8").rstrip()
    pages = [*_own_page(name), *_below_a_kind(name), *_manifest_keys(name)]
    if pages:
        return "\n\n".join(pages)
    hint = "composer explain lists the codes, composer list --components the kinds"
    near = did_you_mean(name, error_titles() if CODE.fullmatch(name) else _names(name))
    if near:
        hint = f"{near} {hint}"
    message = (
        f"'{name}' is not an error's code, a component's kind or setting, an operator or a key"
    )
    raise ComposerError(Problem("R545", message, hint=hint))


def _own_page(name: str) -> Iterator[str]:
    """Yield the page of a kind, an operator or a family."""
    if name in registry.component_names():
        yield "\n".join(_component(registry.component(name)))
    elif name in registry.operator_names():
        operator = registry.operator(name)
        text = inspect.getdoc(operator.function) or operator.summary
        yield "\n".join([f"# {name}", "", text, "", *_ports(operator.signature)])
    elif registry.family_kinds(name):
        yield "\n".join(_family(name))
    elif name in recipes():
        yield "\n".join(_recipe(name))


def _recipe(name: str) -> Iterator[str]:
    """Yield the page of a quantization recipe."""
    named = recipes()[name]
    recipe = named.quantization
    yield from (f"# {name}", "", f"A recipe for `precision`: {named.summary}.", "")
    yield f"bits: {recipe.bits}, group_size: {recipe.group_size}, mode: {recipe.mode}"
    for glob, rule in recipe.rules.items():
        yield f"- {glob}: {rule.bits} bits, {rule.mode}, groups of {rule.group_size}"


def _below_a_kind(name: str) -> Iterator[str]:
    """Yield the page of a kind's method or setting, or of the first of a family that has it."""
    kinds, path = _split(name)
    if not path:
        return
    for kind in kinds:
        field = find_field([kind.Config], path)
        if field:
            yield "\n".join(field_page(name, field))
            return
        if path[0] in kind.methods:
            yield from _below_a_method(name, kind.methods[path[0]], path[1:])
            return


def _below_a_method(name: str, signature: CallSignature, path: list[str]) -> Iterator[str]:
    if not path:
        yield "\n".join([f"# {name}", "", *_ports(signature)])
    elif path[0] in signature.options:
        yield f"# {name}\n\n{option_text(signature.options[path[0]])}"


def _split(name: str) -> tuple[list[type[Component]], list[str]]:
    """Return the kinds that a name begins with, all of a family, and what follows them."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        head = ".".join(parts[:length])
        kinds = list(registry.family_kinds(head).values())
        if head in registry.component_names():
            kinds = [head]
        if kinds:
            return [registry.component(kind) for kind in kinds], parts[length:]
    return [], parts


def _manifest_keys(name: str) -> Iterator[str]:
    """Yield the page of a manifest's key by its path, or of each key of a name."""
    field = find_field([BundleFields], name.split("."))
    if field:
        yield "\n".join(field_page(name, field))
    elif "." not in name:
        for path, each in _keys(BundleFields):
            if path.rpartition(".")[2] == name:
                yield "\n".join(field_page(path, each))


def _keys(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key of a manifest with its path, those of tasks where they stand at the top."""
    for name, field in fields_of(model).items():
        yield f"{at}{name}", field
        if name == "tasks":
            continue
        for inner in nested_models(field.annotation):
            yield from _keys(inner, f"{at}{name}.")


def _names(name: str) -> Iterator[str]:
    """Yield the names that a misspelt one may mean."""
    yield from (
        *registry.component_names(),
        *registry.use_names(),
        *registry.operator_names(),
        *recipes(),
    )
    kinds, path = _split(name)
    head = name.removesuffix(".".join(path))
    for kind in kinds:
        yield from (f"{head}{each}" for each in (*fields_of(kind.Config), *kind.methods))
    for path_of_key, _ in _keys(BundleFields):
        yield path_of_key
        yield path_of_key.rpartition(".")[2]


def error_index() -> str:
    """Return every code with its title, a line each."""
    return "\n".join(f"{code}  {title}" for code, title in error_titles().items())


def _family(name: str) -> Iterator[str]:
    yield f"# {name}"
    yield ""
    yield "A family: `use` may name it, and the backend that suits the machine best runs it."
    yield ""
    kinds = registry.family_kinds(name).values()
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
        yield "## Settings (under config)"
        yield ""
        yield from nested_field_lines(kind.Config)
    for name, signature in kind.methods.items():
        title = kind.name if name == CALL else f".{name}"
        yield ""
        yield f"## {title}"
        yield ""
        yield from _ports(signature)


def _ports(signature: CallSignature) -> Iterator[str]:
    for name, ports in signature.inputs.items():
        line = f"- takes {name}: {ports_text(ports)}"
        if name in signature.optional:
            line += " (may be left out)"
        if name in signature.several:
            line += " (a list of values)"
        yield line
    for name, option in signature.options.items():
        yield f"- option {name}: {option_text(option)}"
    for name, port in signature.returns.items():
        yield f"- gives {name}: {ports_text((port,))}"


def option_text(option: Option) -> str:
    """Return what an option takes and what it is for, in one line."""
    return describe_with_default(FieldInfo.from_annotation(option.annotation), option.default)


def ports_text(ports: Ports) -> str:
    """Return the alternatives of a port, in one line."""
    return " | ".join(str(port) or "float" for port in ports)
