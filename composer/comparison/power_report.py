"""Write what a comparison that passed would have found."""

from __future__ import annotations

from typing import Any

from composer.comparison.compare import Comparison, Row
from composer.comparison.power import FAULTS, Power


def power_lines(found: Comparison) -> list[str]:
    """Return the smallest fault of each kind that each stage would have shown, and the clips."""
    powers = _powers(found)
    if not powers:
        return []
    lines = [["stage", *FAULTS]]
    for name, power in powers.items():
        lines.append([name, *(f"{power.smallest[kind]:.1e}" for kind in FAULTS)])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    cells = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return ["smallest faults that would have been found:", *cells, _suggestion(found, powers)]


def _suggestion(found: Comparison, powers: dict[str, Power]) -> str:
    name = max(powers, key=lambda each: powers[each].clips)
    clips = powers[name].clips
    if clips <= found.clips:
        return f"clips: {found.clips}, which is enough"
    return f"clips: {found.clips}; {clips} are sensible, for {name}"


def power_json(found: Comparison) -> dict[str, Any]:
    """Return the same as JSON data, by stage."""
    return {
        name: {"smallest": dict(power.smallest), "sensible_clips": power.clips}
        for name, power in _powers(found).items()
    }


def _powers(found: Comparison) -> dict[str, Power]:
    """Return what each stage would have shown, on the reference's input where that is known."""
    each = {row.name: _power(row) for row in found.rows}
    return {name: power for name, power in each.items() if power}


def _power(row: Row) -> Power | None:
    if row.fed and row.fed.power:
        return row.fed.power
    return row.own.power
