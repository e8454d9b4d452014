"""Run a task piece by piece where its audio is long, and put the answers together."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.component import Token

if TYPE_CHECKING:
    from composer.formats.audio import Audio
    from composer.runtime.plan import Plan
    from composer.runtime.run import Result, Run


def split(plan: Plan, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the values of each piece: one set where nothing is split, or nothing is long.

    Audio is resampled whole, at the rate that its consumers want, and then cut, so that pieces
    have no edges of their own. Every sample is in one piece.
    """
    for name, entry in plan.graph.inputs.items():
        if entry.split and name in values:
            audio: Audio = values[name]
            if audio.seconds > entry.split.seconds:
                return [{**values, name: piece} for piece in _cut(plan, name, audio)]
    return [dict(values)]


def _cut(plan: Plan, name: str, audio: Audio) -> list[Audio]:
    rates = {
        step.wants[key].dims[0]
        for step in plan.steps
        for key, value in step.node.wires.items()
        if value == name and step.wants[key].dims
    }
    rate = rates.pop() if len(rates) == 1 else audio.rate
    entry = plan.graph.inputs[name].split
    assert entry is not None
    assert isinstance(rate, int)
    whole, size = audio.resample(rate), entry.seconds * rate
    return [
        replace(
            whole,
            samples=whole.samples[start : start + size],
            source=f"{audio.source} from {start // rate} s",
        )
        for start in range(0, whole.frames, size)
    ]


def run_pieces(runs: Sequence[Run], stream: bool) -> Generator[Token, Any, Result]:
    """Run the pieces one after another; yield tokens as one run would."""
    if len(runs) == 1:
        return (yield from runs[0].result(stream))
    results: list[Result] = []
    join = next(e.split.join for e in runs[0].plan.graph.inputs.values() if e.split)
    for run in runs:
        before = join if any(_said(result) for result in results) else ""
        results.append((yield from _after(before, run.result(stream))))
        if results[-1].finish_reason == "cancelled":
            break
    return _together(results, join)


def _after(before: str, run: Generator[Token, Any, Result]) -> Generator[Token, Any, Result]:
    """Pass on a piece's tokens, what joins it to the others before its first text."""
    enough = None
    while True:
        try:
            token = run.send(enough)
        except StopIteration as end:
            result: Result = end.value
            return result
        try:
            enough = yield replace(token, text=before + token.text) if token.text else token
        except GeneratorExit:
            run.close()
            raise
        before = "" if token.text else before


def _together(results: Sequence[Result], join: str) -> Result:
    """Join texts, leaving out empty ones, and put other outputs end to end."""
    outputs = {
        name: join.join(filter(None, (result.outputs[name] for result in results)))
        if isinstance(value, str)
        else np.concatenate([result.outputs[name] for result in results])
        for name, value in results[0].outputs.items()
    }
    reasons = [result.finish_reason for result in results]
    timings = {name: sum(result.timings[name] for result in results) for name in results[0].timings}
    return replace(
        results[0],
        outputs=outputs,
        finish_reason="length" if "length" in reasons else reasons[-1],
        timings=timings,
        tokens=sum(result.tokens for result in results),
        taps={
            f"{number}/{name}": value
            for number, result in enumerate(results)
            for name, value in result.taps.items()
        },
    )


def _said(result: Result) -> bool:
    return any(isinstance(value, str) and value for value in result.outputs.values())
