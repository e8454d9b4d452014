"""Contradictions between the ways in which a config says how positions turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.core.errors import Problem
from composer.formats.file_problems import show_bare

NESTED = ("rope_scaling", "rope_parameters")
ORIGINAL = "original_max_position_embeddings"


def odd(message: str, hint: str | None = None) -> Problem:
    """Return the problem of a value that no network could take."""
    return Problem("W241", message, hint=hint)


def beyond(given: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> Problem | None:
    """Refuse what `rope_parameters` alone says: beside `rope_scaling`, transformers drops it."""
    one, two = (_flat(given[key]) for key in NESTED)
    if not one:
        return None
    stated = {"rope_theta": config.get("rope_theta"), "rope_type": "default", "type": "default"}
    only = sorted(k for k in two.keys() - one.keys() if two[k] not in (None, stated.get(k)))
    if not only:
        return None
    return odd(
        f"rope_parameters has {', '.join(only)}, which rope_scaling beside it does not",
        hint="keep one of the two, with all of its keys: transformers reads rope_scaling alone",
    )


def contradiction(given: Mapping[str, Mapping[str, Any]]) -> Problem | None:
    """Refuse two spellings that differ where both speak."""
    one, two = _flat(given["rope_scaling"]), _flat(given["rope_parameters"])
    different = sorted(key for key in one.keys() & two.keys() if one[key] != two[key])
    if not different:
        return None
    return odd(
        f"rope_scaling and rope_parameters contradict each other: {', '.join(different)}",
        hint="keep the one that the weights were trained with",
    )


def _flat(rules: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in rules.items() if value is not None}
    if "type" in result:
        result.setdefault("rope_type", result.pop("type"))
    return result


def other_length(
    config: Mapping[str, Any], numbers: Mapping[str, Any], path: tuple[str, ...]
) -> Problem | None:
    """Refuse a trained length beside the rules at a path that is not theirs.

    transformers takes it before one in the rules of all layers, and never in those of one type.
    """
    outer, inner = config.get(ORIGINAL), numbers.get(ORIGINAL)
    if outer is None or outer == inner or (inner is None and len(path) == 1):
        return None
    where = "nothing" if inner is None else show_bare(inner)
    return odd(f"{ORIGINAL} is {show_bare(outer)} and, in {'.'.join(path)}, {where}")


def unread_type(config: Mapping[str, Any], kind: str, key: str) -> Problem | None:
    """Refuse a kind of scaling that `type` alone names where layers turn by rules of their own.

    transformers' Gemma 3 reads `rope_type` there, and without it scales nothing.
    """
    given = config.get(key)
    if kind == "default" or not isinstance(given, Mapping) or "rope_type" in given:
        return None
    what = f"transformers does not read type of {key} in this architecture"
    return Problem("W257", what, hint="write rope_type, if the weights were trained with it")
