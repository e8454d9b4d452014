"""Report what was measured, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

from composer.benchmarking.measure import BundleTimings, RunCounts
from composer.benchmarking.spread import Spread, ratio_spread, spread_of
from composer.core.text_columns import align

Measures = Sequence[BundleTimings]


def report_json(measured: Measures, turns: RunCounts, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that was measured; with two bundles their ratios, pair by pair, and sameness."""
    data = {**about, **asdict(turns), "measured": list(map(_measured_json, measured))}
    if len(measured) == 2:
        by_name = {name: asdict(each) for name, each in timing_ratios(*measured).items()}
        data |= {"ratios": by_name, "same_outputs": not differing_outputs(*measured)}
    return data


def _measured_json(measured: BundleTimings) -> dict[str, Any]:
    figures = {name: asdict(spread_of(values)) for name, values in measured.figures().items()}
    return {
        "title": measured.title,
        "audio_seconds": measured.audio or None,
        "figures": figures,
        "tokens": measured.starts[0].run.tokens,
        "finish_reason": measured.starts[0].run.finish,
        "outputs": dict(measured.outputs),
        "same_in_every_run": measured.steady,
    }


def timing_ratios(one: BundleTimings, other: BundleTimings) -> dict[str, Spread]:
    """Return how many times the first bundle's figures the second's are, by their common names."""
    base, others = one.figures(), other.figures()
    found = {}
    for name in base:
        times = ratio_spread(others[name], base[name]) if name in others else None
        if times:
            found[name] = times
    return found


def differing_outputs(one: BundleTimings, other: BundleTimings) -> list[str]:
    """Return the names of outputs that are not the same in both."""
    names = dict.fromkeys([*one.outputs, *other.outputs])
    return [name for name in names if one.outputs.get(name) != other.outputs.get(name)]


def report_text(measured: Measures, turns: RunCounts) -> str:
    """Return a table of medians and quartiles, and of ratios where there are two bundles."""
    turned = f"starts: {turns.starts}, runs: {turns.runs}, before them without counting: "
    turned += f"{turns.warmup} of each"
    if measured[0].audio:
        turned += f"; {measured[0].audio:.2f} s of audio"
    lines = [f"{turned}; medians (quartiles)", "", *align(_cells(measured)), ""]
    for each in measured:
        line = _outcome(each)
        if len(measured) > 1:
            line = f"{each.title}: {line}"
        lines.append(line)
    if len(measured) == 2:
        lines += _differences(*measured)
    return "\n".join(lines)


def _outcome(measured: BundleTimings) -> str:
    """Return how the first run ended, and whether every run gave the same."""
    run = measured.starts[0].run
    made = "no tokens"
    if run.finish:
        made = f"{run.tokens} tokens, ended by {run.finish}"
    steady = "the same in every run" if measured.steady else "NOT the same in every run"
    return f"{made}; outputs {steady}"


def _differences(one: BundleTimings, other: BundleTimings) -> list[str]:
    different = differing_outputs(one, other)
    if not different:
        return ["the same outputs"]
    lines = [f"the outputs DIFFER: {', '.join(different)}"]
    for name in different:
        for each in (one, other):
            lines.append(f"  {each.title}: {each.outputs.get(name, 'none')}")
    return lines


def _cells(measured: Measures) -> list[list[str]]:
    figures = [each.figures() for each in measured]
    times: Mapping[str, Spread] = {}
    if len(measured) == 2:
        times = timing_ratios(*measured)
    head = ["", *(each.title for each in measured)]
    if times:
        head.append("ratio")
    cells = [head]
    for name in dict.fromkeys(chain.from_iterable(figures)):
        row = [_label(name)]
        for each in figures:
            row.append(_median_and_quartiles(name, each[name]) if name in each else "")
        if times:
            row.append(_ratio(times[name]) if name in times else "")
        cells.append(row)
    return cells


def _label(name: str) -> str:
    """Indent a part below what it is part of."""
    whole, _, part = name.partition(" ")
    if whole not in ("start", "run") or not part:
        return {"start": "cold start", "peak": "peak memory"}.get(name, name)
    inner, _, component = part.partition(" ")
    if inner == "load" and component:
        return f"    {component}"
    return f"  {part}"


def _median_and_quartiles(name: str, values: Sequence[float]) -> str:
    """Return the median of a figure, and the quartiles in its own unit."""
    found = spread_of(values)
    scale, unit = _unit(name, found.median)
    text = _digits(scale * found.median) + unit
    if len(found.values) > 1:
        text += f" ({_digits(scale * found.low)} to {_digits(scale * found.high)})"
    return text


def _unit(name: str, median: float) -> tuple[float, str]:
    """Return the factor to the unit that a figure is shown in, and that unit."""
    if name.startswith("peak"):
        return 1e-6, " MB"
    if name in ("tokens/s", "real-time factor"):
        return 1.0, ""
    if median >= 1:
        return 1.0, " s"
    return 1e3, " ms"


def _ratio(found: Spread) -> str:
    text = f"{found.median:.2f}"
    if len(found.values) > 1:
        text += f" ({found.low:.2f} to {found.high:.2f})"
    return text


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
