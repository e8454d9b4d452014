"""Bound what a run makes of little, before it is made."""

from __future__ import annotations

from math import prod

from composer.core.errors import ComposerError, Problem

MOST_NUMBERS = 2**28  # of one value: 1 GiB of float32


def require_size(what: str, *lengths: int) -> None:
    """Raise R558 for a value of more numbers than are made."""
    if prod(lengths) > MOST_NUMBERS:
        shape = " x ".join(map(str, lengths))
        message = f"{what} would be {shape}, over {MOST_NUMBERS} numbers"
        raise ComposerError(Problem("R558", message, hint="split what goes in"))
