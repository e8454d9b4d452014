"""Read literals of a manifest as options of a method."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from composer.core.call_signature import CallSignature, Option
from composer.core.component import Component
from composer.core.errors import ComposerError
from composer.graph.graph import CheckedComponent
from composer.manifest.validation_faults import TYPES, describe


def read_option(name: str, option: Option, given: Any) -> Any:
    """Convert a literal to its option's type; raise ValueError with the expected type."""
    try:
        # JSON's strictness: a list may become a tuple, a text never a number.
        return TypeAdapter(option.annotation).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        errors = error.errors()
        count = _expected_items(errors, given)
        if count is not None:
            message = f"option '{name}' should have {count} items, not {len(given)}"
            raise ValueError(message) from None
        kinds = {}
        for found in errors:
            kind = found["type"].partition("_")[0]
            kinds[kind] = TYPES.get(f"{kind}_type", found["msg"].removeprefix("Input should be "))
        wanted = " or ".join(kinds.values())
        raise ValueError(f"option '{name}' should be {wanted}, not {describe(given)}") from None


def _expected_items(errors: Sequence[Any], given: Any) -> int | None:
    """Return how many items a list should have, where it has too many or too few."""
    missing = 0
    for found in errors:
        if found["type"] == "too_long":
            return int(found["ctx"]["max_length"])
        missing += found["type"] == "missing"
    return len(given) + missing if missing else None


def suggested_option(component: type[Component], key: str) -> str | None:
    """Return a hint where a key of a config is an option of one of the component's methods."""
    for name, signature in component.methods.items():
        if key in signature.options:
            return f"{key} is an option of {name}: write it in the node that runs it, under 'with'"
    return None


def option_conflicts(
    component: CheckedComponent, method: str, signature: CallSignature, given: Mapping[str, Any]
) -> list[str]:
    """Return conflicts between the options of one call, and with the component's files."""
    found = list(component.facts.option_faults(given)) if component.facts else []
    try:
        component.cls.validate_options(method, {**signature.defaults, **given})
    except ComposerError as error:
        found += [problem.message for problem in error.problems]
    return found
