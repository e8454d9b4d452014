"""Print what was measured for a budget, as a table with bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from composer.core.units import format_bytes

if TYPE_CHECKING:
    from composer.jobs.budget import Budget

BAR = 24  # characters of the longest bar
DECADES = 8  # of divergence that a bar shows


def budget_table(found: Budget) -> Iterator[str]:
    """Yield the lines: each choice alone, the editions that none beats, and the pick.

    A bar is as long as the logarithm of its divergence: full at 1 nat, none below 1e-8.
    """
    yield f"as stored: {format_bytes(found.stored)}; divergence is in nats a token from that"
    yield "one component at a time:"
    width = max(len(f"{c.component}={c.precision}") for c in found.choices)
    for c in sorted(found.choices, key=lambda each: (each.component, each.nbytes)):
        name = f"{c.component}={c.precision}".ljust(width)
        yield (
            f"  {name}  {format_bytes(c.nbytes):>8}  {c.divergence:8.2g}  {_bar(c.divergence)}"
        ).rstrip()
    yield "none is both smaller and nearer:"
    for each in found.pareto:
        mark = "*" if found.pick and each.precision == found.pick.precision else " "
        summed = "" if each.measured else ", summed"
        what = f"{_names(each.precision)}{summed}"
        yield f"{mark} {format_bytes(each.nbytes):>8}  {each.divergence:8.2g}  {what}"
    if found.pick is None:
        yield f"nothing that was tried fits into {format_bytes(found.nbytes)}"
        return
    pick = found.pick
    yield (
        f"fits into {format_bytes(found.nbytes)}: {_names(pick.precision)}, "
        f"{pick.divergence:.2g} nats"
    )
    if pick.precision:
        yield "  " + " ".join(f"--precision {n}={p}" for n, p in pick.precision.items())


def budget_plot(title: str, found: Budget) -> str:
    """Return the choices as an SVG picture, in a colour for each component, and the best joined."""
    from composer.comparison.divergence_plot import DivergencePoint, divergence_plot

    points = [
        DivergencePoint(c.precision, c.component, c.nbytes, c.divergence) for c in found.choices
    ]
    best = []
    for each in found.pareto:
        point = DivergencePoint(_names(each.precision), "together", each.nbytes, each.divergence)
        best.append(point)
        if len(each.precision) != 1:
            points.append(point)
    return divergence_plot(f"{title}: nats a token from as stored, by size", points, best)


def _names(precision: Mapping[str, str]) -> str:
    return ", ".join(f"{n}={p}" for n, p in precision.items()) or "as stored"


def _bar(divergence: float) -> str:
    if divergence <= 0:
        return ""
    share = 1 + math.log10(divergence) / DECADES
    return "#" * round(BAR * min(max(share, 0), 1))
