"""Write what a comparison that passed would have found."""

from __future__ import annotations

from typing import Any

from composer.comparison.compare import Comparison, Row
from composer.comparison.power import FAULTS, Power
from composer.core.text_columns import align


def power_lines(found: Comparison) -> list[str]:
    """Return the smallest fault of each kind that each stage would have shown, and the clips."""
    powers = _powers(found)
    if not powers:
        return []
    rows = [["stage", *FAULTS]]
    for name, power in powers.items():
        rows.append([name, *(f"{power.smallest[kind]:.1e}" for kind in FAULTS)])
    title = "smallest faults that would have been found:"
    return [title, *align(rows), _suggestion(found, powers)]


def _suggestion(found: Comparison, powers: dict[str, Power]) -> str:
    name = max(powers, key=lambda each: powers[each].clips)
    clips = powers[name].clips
    if clips <= found.clips:
        return f"clips: {found.clips}, which is enough"
    return f"clips: {found.clips}; {clips} are sensible, for {name}"


def power_json(found: Comparison) -> dict[str, Any]:
    """Return the same as JSON data, by stage."""
    data = {}
    for name, power in _powers(found).items():
        data[name] = {"smallest": dict(power.smallest), "sensible_clips": power.clips}
    return data


def _powers(found: Comparison) -> dict[str, Power]:
    """Return what each stage would have shown, on the reference's input where that is known."""
    powers = {}
    for row in found.rows:
        power = _power(row)
        if power:
            powers[row.name] = power
    return powers


def _power(row: Row) -> Power | None:
    if row.fed and row.fed.power:
        return row.fed.power
    return row.own.power
