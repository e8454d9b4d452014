"""Compare alternatives: in turns, by medians, and by the ratio within each turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median

Seconds = Mapping[str, list[float]]


def in_turns(ways: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Time each way once per turn, after a warm-up turn; odd turns run in reverse.

    Other load on the machine then affects all ways alike.
    """
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        order = list(ways.items())
        for name, way in order[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            way()
            if turn:
                spent[name].append(time.perf_counter() - began)
    return spent


def ratio(spent: Seconds, name: str, base: str) -> float:
    """Return the median over turns of the ratio of two ways' seconds."""
    return median(one / other for one, other in zip(spent[name], spent[base], strict=True))


def table(spent: Seconds, base: str) -> str:
    """Format each way's median milliseconds, and its ratio to the base with the quartiles."""
    width = max(map(len, spent))
    lines = []
    for name, times in spent.items():
        ratios = (one / other for one, other in zip(times, spent[base], strict=True))
        spread = "" if name == base else f"   {quartiles(ratios, 3)}"
        lines.append(f"{name:{width}}  {1e3 * median(times):9.2f} ms{spread}")
    return "\n".join(lines)


def quartiles(ratios: Iterable[float], digits: int = 2) -> str:
    """Format the median of ratios and their quartiles."""
    ordered = sorted(ratios)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return f"{median(ordered):.{digits}f} x ({low:.{digits}f} to {high:.{digits}f})"
