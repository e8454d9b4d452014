"""What a run gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.suggest import listed


@dataclass(frozen=True)
class ResultSegment:
    """What one piece of audio gave: its place in the audio in seconds, and its outputs by name.

    Pieces of one channel follow one another without a gap, from the first sample to the last. One
    that is `silent` was not run and gave nothing. `speech` is the highest score that the manifest's
    detector gave it, from 0 to 1, None without one.
    """

    start: float
    end: float
    outputs: Mapping[str, Any]
    channel: int = 0
    silent: bool = False
    speech: float | None = None


@dataclass(frozen=True)
class Result:
    """What a run gave.

    `outputs` by name, `finish_reason` of the decoder (`stop`, `length`, or `cancelled` by its
    reader; None without one), `timings` in seconds by node, `tokens` generated, `prompt_tokens` the
    rows that decoders were given, `taps` by value name: NumPy arrays and texts, of split audio with
    the number of the piece, as `0/answer.ids`. `notes` say how far audio that was cut short was
    read, and which channel, and which outputs are empty. `segments` are the pieces that audio was
    run in, one where it was not split; none where the task takes no audio. They are together all
    of it: `audio_seconds`, of each channel that was run.
    """

    outputs: Mapping[str, Any]
    finish_reason: str | None
    timings: Mapping[str, float]
    tokens: int
    taps: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    segments: tuple[ResultSegment, ...] = ()
    prompt_tokens: int = 0
    audio_seconds: float = 0.0

    @property
    def text(self) -> str:
        """Return the output named `text`."""
        if "text" not in self.outputs:
            raise AttributeError(f"no output is named text; there are: {listed(self.outputs)}")
        return str(self.outputs["text"])
