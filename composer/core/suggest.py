"""Suggest what a misspelt name was probably meant to be, and what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

SHOWN = 16
LONGEST = 64  # characters of a word that may be misspelt
LONGEST_ITEM = 256


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that looks most like `word`, or None when none does."""
    choices = list(options)
    folded = {choice.lower(): choice for choice in reversed(choices)}
    if len(word) > LONGEST:
        return None
    if word.lower() in folded:
        return folded[word.lower()]
    near = get_close_matches(word.lower(), folded, 1)
    return folded[near[0]] if near else None


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """Return "did you mean 'x'?" for the nearest option, or None when none is near."""
    near = nearest(word, options)
    return f"did you mean '{near}'?" if near else None


def with_nearest(message: str, word: str, options: Iterable[str]) -> str:
    """Add the nearest option to a message, if one is near."""
    near = did_you_mean(word, options)
    return f"{message}; {near}" if near else message


def listed(options: Iterable[str]) -> str:
    """Join names for a message, in their own order; cut a long list and say by how much."""
    names = list(options)
    shown = ", ".join(names[:SHOWN]) or "none"
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def some(items: Iterable[Any], most: int = 8) -> str:
    """Join a few items, saying how many are left out."""
    listed = [shorten(str(item)) for item in items]
    left = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {left} more" if left > 0 else "")


def shorten(text: str) -> str:
    """Cut a long text, with dots for what is left out."""
    return text if len(text) <= LONGEST_ITEM else f"{text[: LONGEST_ITEM - 3]}..."
