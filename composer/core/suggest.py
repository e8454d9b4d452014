"""Suggest what a misspelt name was probably meant to be, and what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

SHOWN = 16
LONGEST = 64  # characters of a word that may be misspelt
LONGEST_ITEM = 256


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that looks most like `word`, or None when none does."""
    if len(word) > LONGEST:
        return None
    by_lower_case = {choice.lower(): choice for choice in reversed(list(options))}
    if word.lower() in by_lower_case:
        return by_lower_case[word.lower()]
    near = get_close_matches(word.lower(), by_lower_case, 1)
    if not near:
        return None
    return by_lower_case[near[0]]


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """Return "did you mean 'x'?" for the nearest option, or None when none is near."""
    near = nearest(word, options)
    if near is None:
        return None
    return f"did you mean '{near}'?"


def with_nearest(message: str, word: str, options: Iterable[str]) -> str:
    """Add the nearest option to a message, if one is near."""
    near = did_you_mean(word, options)
    if near is None:
        return message
    return f"{message}; {near}"


def listed(options: Iterable[str]) -> str:
    """Join names for a message, in their own order; cut a long list and say by how much."""
    return join_at_most(list(options), SHOWN) or "none"


def some(items: Iterable[Any], most: int = 8) -> str:
    """Join a few items, saying how many are left out."""
    return join_at_most([shorten(str(item)) for item in items], most)


def group_lines(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each group that has names: "2 only here: a, b"."""
    lines = []
    for what, names in groups.items():
        if names:
            lines.append(f"{len(names)} {what}: {listed(names)}")
    return lines


def join_at_most(texts: Sequence[str], most: int) -> str:
    """Join texts, of which so many are shown and the rest is counted."""
    joined = ", ".join(texts[:most])
    if len(texts) > most:
        joined += f" and {len(texts) - most} more"
    return joined


def shorten(text: str, longest: int = LONGEST_ITEM) -> str:
    """Cut a text that is longer than so many characters, with dots for what is left out."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 3]}..."
