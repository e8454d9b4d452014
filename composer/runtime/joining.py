"""Run the pieces of long audio one after another, and join their results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.backend import numpy_dtype
from composer.core.component import Token
from composer.core.joined_text import separator
from composer.runtime.result import Result, ResultSegment

if TYPE_CHECKING:
    from composer.runtime.plan import Plan
    from composer.runtime.run import GraphRun
    from composer.runtime.split import AudioPiece

BETWEEN_CHANNELS = "\n"
LANGUAGE = "language"  # the output that names the languages, each once


def run_pieces(
    plan: Plan, pieces: Iterable[AudioPiece], run: Callable[[AudioPiece], GraphRun], stream: bool
) -> Generator[Token, Any, Result]:
    """Run the pieces, each of which is made in its turn; yield tokens as one run would.

    One that is all gives the result of its run. Silent ones are not run.
    """
    source = iter(pieces)
    first = next(source)
    second = next(source, None)
    if second is None and not first.silent:
        result = yield from run(first).result(stream)
        notes = dict.fromkeys((*first.notes, *result.notes))
        segments = first.segments(result.outputs)
        return replace(result, notes=tuple(notes), segments=segments, audio_seconds=first.seconds)
    joined = _Joined(plan)
    rest = () if second is None else (second,)
    for number, piece in enumerate(chain((first,), rest, source)):
        joined.notes |= dict.fromkeys(piece.notes)
        joined.seconds[piece.channel] = piece.seconds
        if piece.silent:
            joined.segments += piece.segments({})
            continue
        result = yield from joined.numbered(number, piece, run(piece).result(stream))
        joined.add(number, piece, result)
        if result.finish_reason == "cancelled":
            break
    return joined.result()


@dataclass
class _Joined:
    """What the pieces gave so far: a result for each that was run, and the place of each."""

    plan: Plan
    segments: list[ResultSegment] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)  # of each channel
    _pieces: list[AudioPiece] = field(default_factory=list)
    _results: list[Result] = field(default_factory=list)
    _taps: dict[str, Any] = field(default_factory=dict)
    _text: str = ""  # the end of what was streamed, and the channel that it is of
    _channel: int = 0

    def numbered(
        self, number: int, piece: AudioPiece, run: Generator[Token, Any, Result]
    ) -> Generator[Token, Any, Result]:
        """Pass on a piece's tokens with its number, and the separator before its first text."""
        enough, begun = None, False
        while True:
            try:
                token = run.send(enough)
            except StopIteration as end:
                result: Result = end.value
                return result
            before = ""
            if token.text and not begun:
                before = _separator(self._text, token.text, piece, self._channel)
            if token.text:
                begun, self._text, self._channel = True, token.text, piece.channel
            try:
                enough = yield replace(
                    token, text=before + token.text, piece=number, separator=before
                )
            except GeneratorExit:
                run.close()
                raise

    def add(self, number: int, piece: AudioPiece, result: Result) -> None:
        """Take in the result of a piece."""
        self.segments += piece.segments(result.outputs)
        for name, value in result.taps.items():
            self._taps[f"{number}/{name}"] = value
        self._pieces.append(replace(piece, values={}))  # without their audio
        self._results.append(replace(result, taps={}))

    def result(self) -> Result:
        """Return the result of all: texts one after another, tensors end to end."""
        timings: dict[str, float] = {}
        finish_reason = None
        for result in self._results:
            for name, seconds in result.timings.items():
                timings[name] = timings.get(name, 0.0) + seconds
            if finish_reason != "length":
                finish_reason = result.finish_reason
            self.notes |= dict.fromkeys(result.notes)
        return Result(
            {name: self._output(name, value) for name, value in self.plan.outputs.items()},
            finish_reason,
            timings,
            sum(result.tokens for result in self._results),
            self._taps,
            tuple(self.notes),
            tuple(self.segments),
            sum(result.prompt_tokens for result in self._results),
            sum(self.seconds.values()),
        )

    def _output(self, name: str, value: str) -> Any:
        each = [result.outputs[name] for result in self._results]
        port = self.plan.graph.values[value].port
        is_text = port is not None and port.kind == "text"
        if is_text and name == LANGUAGE:
            return ", ".join(dict.fromkeys(text for text in each if text))
        if is_text:
            return self._join(each)
        if each:
            return np.concatenate(each)
        return np.zeros(0, numpy_dtype((port and port.dtype) or "f32"))

    def _join(self, texts: Iterable[str]) -> str:
        """Join texts, leaving out empty ones."""
        found, channel = "", 0
        for piece, text in zip(self._pieces, texts, strict=True):
            if text:
                found += _separator(found, text, piece, channel) + text
                channel = piece.channel
        return found


def _separator(before: str, after: str, piece: AudioPiece, channel: int) -> str:
    """Return what stands between a piece's text and the text before it, if there is one."""
    if not before:
        return ""
    if piece.channel != channel:
        return BETWEEN_CHANNELS
    return separator(before, after, piece.join)
