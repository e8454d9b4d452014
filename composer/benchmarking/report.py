"""Report what was measured, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from composer.benchmarking.measure import Measured, Turns
from composer.benchmarking.spread import Spread, ratio, spread

Measures = Sequence[Measured]


def report_json(measured: Measures, turns: Turns, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that was measured; with two bundles their ratios, pair by pair, and sameness."""
    found = []
    for each in measured:
        found.append(
            {
                "title": each.title,
                "audio_seconds": each.audio or None,
                "figures": {
                    name: asdict(spread(values)) for name, values in each.figures().items()
                },
                "tokens": each.starts[0].run.tokens,
                "finish_reason": each.starts[0].run.finish,
                "outputs": dict(each.outputs),
                "same_in_every_run": each.steady,
            }
        )
    data = {**about, **asdict(turns), "measured": found}
    if len(measured) == 2:
        by_name = {name: asdict(each) for name, each in ratios(*measured).items()}
        data |= {"ratios": by_name, "same_outputs": not differing(*measured)}
    return data


def ratios(one: Measured, other: Measured) -> dict[str, Spread]:
    """Return how many times the first bundle's figures the second's are, by their common names."""
    base, others = one.figures(), other.figures()
    found = {name: ratio(others[name], base[name]) for name in base if name in others}
    return {name: each for name, each in found.items() if each}


def differing(one: Measured, other: Measured) -> list[str]:
    """Return the names of outputs that are not the same in both."""
    names = dict.fromkeys([*one.outputs, *other.outputs])
    return [name for name in names if one.outputs.get(name) != other.outputs.get(name)]


def report_text(measured: Measures, turns: Turns) -> str:
    """Return a table of medians and quartiles, and of ratios where there are two bundles."""
    head, *_ = measured
    audio = f"; {head.audio:.2f} s of audio" if head.audio else ""
    lines = [
        f"starts: {turns.starts}, runs: {turns.runs}, before them without counting: "
        f"{turns.warmup} of each{audio}; medians (quartiles)",
        "",
        *_rows(_cells(measured)),
        "",
    ]
    for each in measured:
        lead = f"{each.title}: " if len(measured) > 1 else ""
        tokens, finish = each.starts[0].run.tokens, each.starts[0].run.finish
        made = f"{tokens} tokens, ended by {finish}" if finish else "no tokens"
        steady = "the same in every run" if each.steady else "NOT the same in every run"
        lines.append(f"{lead}{made}; outputs {steady}")
    if len(measured) == 2:
        different = differing(*measured)
        lines.append("the same outputs")
        if different:
            lines[-1] = f"the outputs DIFFER: {', '.join(different)}"
        for name in different:
            lines += [f"  {each.title}: {each.outputs.get(name, 'none')}" for each in measured]
    return "\n".join(lines)


def _cells(measured: Measures) -> list[list[str]]:
    figures = [each.figures() for each in measured]
    names = dict.fromkeys(name for each in figures for name in each)
    times = ratios(*measured) if len(measured) == 2 else {}
    cells = [["", *(each.title for each in measured), *(["ratio"] if times else [])]]
    for name in names:
        cells.append(
            [
                _label(name),
                *(_shown(name, each[name]) if name in each else "" for each in figures),
                *([_ratio(times[name]) if name in times else ""] if times else []),
            ]
        )
    return cells


def _rows(cells: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    found: list[str] = []
    for row in cells:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        found.append("  ".join(padded).rstrip())
    return found


def _label(name: str) -> str:
    """Indent a part below what it is part of."""
    whole, _, part = name.partition(" ")
    if whole not in ("start", "run") or not part:
        return {"start": "cold start", "peak": "peak memory"}.get(name, name)
    inner, _, component = part.partition(" ")
    return f"    {component}" if inner == "load" and component else f"  {part}"


def _shown(name: str, values: Sequence[float]) -> str:
    """Return the median, and the quartiles in its own unit."""
    found = spread(values)
    scale, unit = 1.0, ""
    if name.startswith("peak"):
        scale, unit = 1e-6, " MB"
    elif name not in ("tokens/s", "real-time factor"):
        scale, unit = (1.0, " s") if found.median >= 1 else (1e3, " ms")
    low, middle, high = (_digits(scale * each) for each in (found.low, found.median, found.high))
    return f"{middle}{unit}" + (f" ({low} to {high})" if len(found.values) > 1 else "")


def _ratio(found: Spread) -> str:
    spans = f" ({found.low:.2f} to {found.high:.2f})" if len(found.values) > 1 else ""
    return f"{found.median:.2f}{spans}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
