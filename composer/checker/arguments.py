"""Read what a node is given: each value by itself, also those of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from composer.core.call_signature import CallSignature, item_name
from composer.manifest.validation_faults import describe

if TYPE_CHECKING:
    from composer.manifest import Node

Argument = tuple[Any, Sequence[str | int]]


def read_arguments(
    name: str, entry: Node, signature: CallSignature, report: Callable[..., None]
) -> tuple[dict[str, Argument], CallSignature]:
    """Return what a node is given by input, each with its place, and the signature of this call.

    An input that takes several values becomes one for each item of its list.
    """
    found: dict[str, Argument] = {}
    for key, given in entry.with_.items():
        at = ("graph", name, "with", key)
        takes_list = key in signature.several or (
            key in signature.repeated and isinstance(given, list)
        )
        if not takes_list:
            found[key] = given, at
        elif isinstance(given, list) and given:
            signature = signature.with_items(key, len(given))
            for index, each in enumerate(given):
                found[item_name(key, index)] = each, (*at, index)
        else:
            what = "an empty list" if given == [] else describe(given)
            message = f"{entry.run}.{key} needs a list of $references, not {what}"
            hint = f"write [{given}]" if isinstance(given, str) else None
            report("W205", message, *at, hint=hint)
    return found, signature
