"""Run a task on the pieces of long audio, and join the results."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.component import Token
from composer.core.errors import ComposerError, Problem
from composer.formats.audio.waveform import Audio, Channels
from composer.runtime.result import Segment

if TYPE_CHECKING:
    from composer.runtime.plan import Plan
    from composer.runtime.result import Result
    from composer.runtime.run import Run

QUIET = 0.1  # seconds over which the level is measured
NEAR = 1 / 3  # of a piece: how far before its limit it may end
BETWEEN_CHANNELS = "\n"


@dataclass(frozen=True)
class Piece:
    """The values of one run, the number of its channel, and the text before the next piece.

    `start` is where it begins in the audio that was cut, in seconds.
    """

    values: dict[str, Any]
    channel: int = 0
    join: str = " "
    start: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the notes on its audio."""
        collected: list[str] = []
        for audio in self._audios:
            collected += audio.notes
        return tuple(collected)

    @property
    def _audios(self) -> list[Audio]:
        return [value for value in self.values.values() if isinstance(value, Audio)]

    def segment(self, result: Result) -> tuple[Segment, ...]:
        """Return what it gave with its place; nothing unless it has one audio."""
        audios = self._audios
        if len(audios) != 1:
            return ()
        end = self.start + audios[0].seconds
        return (Segment(self.start, end, result.outputs, self.channel),)


def split(plan: Plan, values: Mapping[str, Any]) -> list[Piece]:
    """Return the values of each piece: a single one if nothing is split, or nothing is long.

    Audio is resampled whole, at the rate that its consumers want, and then cut where it is quietest
    near the limit. Every sample is in one piece; each channel that is asked for is cut by itself.
    """
    several = [name for name, value in values.items() if isinstance(value, Channels)]
    if len(several) > 1:
        message = f"'{several[0]}' and '{several[1]}' would both be run for each channel"
        raise ComposerError(Problem("R542", message, hint="choose one channel of one of them"))
    for name in several:
        _require_joinable(plan, name)
        found: list[Piece] = []
        for number, audio in enumerate(values[name].each):
            for piece in _pieces(plan, {**values, name: audio}):
                found.append(replace(piece, channel=number))
        return found
    return _pieces(plan, values)


def _pieces(plan: Plan, values: Mapping[str, Any]) -> list[Piece]:
    for name, entry in plan.graph.inputs.items():
        if entry.split and name in values:
            audio: Audio = values[name]
            join = entry.split.join
            if audio.seconds <= entry.split.seconds:
                return [Piece(dict(values), join=join)]
            pieces = []
            for start, part in _cut(plan, name, audio):
                pieces.append(Piece({**values, name: part}, join=join, start=start))
            return pieces
    return [Piece(dict(values))]


def _require_joinable(plan: Plan, name: str) -> None:
    """Refuse one run per channel if an output cannot be joined."""
    for output, value in plan.graph.outputs.items():
        port = plan.graph.values[value].port
        if port and port.kind != "text" and (port.kind != "tensor" or len(port.dims) != 1):
            message = f"each channel of '{name}' gives an '{output}' of its own"
            hint = "choose one channel: texts can be put together, and tensors of one axis"
            raise ComposerError(Problem("R542", message, hint=hint))


def _cut(plan: Plan, name: str, audio: Audio) -> Iterator[tuple[float, Audio]]:
    """Yield the pieces of audio, each with the second at which it begins."""
    rates = set()
    for step in plan.steps:
        for key, value in step.node.wires.items():
            if value == name and step.wants[key].dims:
                rates.add(step.wants[key].dims[0])
    rate = rates.pop() if len(rates) == 1 else audio.rate
    entry = plan.graph.inputs[name].split
    assert entry is not None
    assert isinstance(rate, int)
    whole = audio.resample(rate)
    start = 0
    while start < whole.frames:
        stop = _quiet_place(whole.samples, start, entry.seconds * rate, rate)
        source = f"{audio.source} from {start / rate:.2f} s"
        yield start / rate, replace(whole, samples=whole.samples[start:stop], source=source)
        start = stop


def _quiet_place(samples: np.ndarray, start: int, size: int, rate: int) -> int:
    """Return where a piece ends: the quietest place of its last third, or the end of all."""
    if len(samples) - start <= size:
        return len(samples)
    first = start + size - round(size * NEAR)
    power = np.square(samples[first : start + size], dtype=np.float64)
    window = max(1, round(QUIET * rate))
    sums = np.cumsum(np.concatenate([[0.0], power]))
    levels = sums[window:] - sums[:-window]
    latest = len(levels) - 1 - int(np.argmin(levels[::-1]))
    return first + latest + window // 2


def run_pieces(
    pieces: Sequence[Piece], runs: Sequence[Run], stream: bool
) -> Generator[Token, Any, Result]:
    """Run the pieces one after another; yield tokens as one run would."""
    notes = dict.fromkeys(chain.from_iterable(piece.notes for piece in pieces))
    if len(runs) == 1:
        result = yield from runs[0].result(stream)
        segments = pieces[0].segment(result)
        return replace(result, notes=(*notes, *result.notes), segments=segments)
    results: list[Result] = []
    last: Piece | None = None  # the last with text
    for piece, run in zip(pieces, runs, strict=True):
        before = _separator(last, piece)
        results.append((yield from _numbered(len(results), before, run.result(stream))))
        if _has_text(results[-1]):
            last = piece
        if results[-1].finish_reason == "cancelled":
            break
    found = dict.fromkeys(chain.from_iterable(result.notes for result in results))
    return replace(_join_results(pieces, results), notes=(*notes, *found))


def _separator(last: Piece | None, piece: Piece) -> str:
    """Return what stands between a piece's text and the text before it, if there is one."""
    if last is None:
        return ""
    if piece.channel != last.channel:
        return BETWEEN_CHANNELS
    return piece.join


def _numbered(
    number: int, before: str, run: Generator[Token, Any, Result]
) -> Generator[Token, Any, Result]:
    """Pass on a piece's tokens with its number, and the separator before its first text."""
    enough = None
    while True:
        try:
            token = run.send(enough)
        except StopIteration as end:
            result: Result = end.value
            return result
        separator = before if token.text else ""
        try:
            enough = yield replace(
                token, text=separator + token.text, piece=number, separator=separator
            )
        except GeneratorExit:
            run.close()
            raise
        if token.text:
            before = ""


def _join_results(pieces: Sequence[Piece], results: Sequence[Result]) -> Result:
    """Join texts, leaving out empty ones, and put other outputs end to end."""
    outputs: dict[str, Any] = {}
    for name, value in results[0].outputs.items():
        each = [result.outputs[name] for result in results]
        outputs[name] = _joined(pieces, each) if isinstance(value, str) else np.concatenate(each)
    taps: dict[str, Any] = {}
    segments: list[Segment] = []
    timings = dict.fromkeys(results[0].timings, 0.0)
    tokens = prompt_tokens = 0
    finish_reason = results[-1].finish_reason
    for number, result in enumerate(results):
        for name, value in result.taps.items():
            taps[f"{number}/{name}"] = value
        segments += pieces[number].segment(result)
        for name in timings:
            timings[name] += result.timings[name]
        tokens += result.tokens
        prompt_tokens += result.prompt_tokens
        if result.finish_reason == "length":
            finish_reason = "length"
    return replace(
        results[0],
        segments=tuple(segments),
        outputs=outputs,
        finish_reason=finish_reason,
        timings=timings,
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        taps=taps,
    )


def _joined(pieces: Sequence[Piece], texts: Sequence[str]) -> str:
    found, last = "", None
    for piece, text in zip(pieces, texts, strict=False):  # fewer if a run was cancelled
        if text:
            found += _separator(last, piece) + text
            last = piece
    return found


def _has_text(result: Result) -> bool:
    return any(isinstance(value, str) and value for value in result.outputs.values())
