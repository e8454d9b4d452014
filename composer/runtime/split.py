"""Split a run into the pieces of its audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.recording import Recording, Recordings
from composer.formats.audio.waveform import Audio, Channels
from composer.runtime.cutting import cut
from composer.runtime.result import ResultSegment
from composer.runtime.speech_scores import SILENT, Detector, SpeechScores

if TYPE_CHECKING:
    from composer.manifest.entries import Split
    from composer.runtime.plan import Plan
    from composer.runtime.request import PlannedRun


@dataclass(frozen=True)
class AudioPiece:
    """The values of one run, the number of its channel, and the text before the next piece.

    `start` and `end` are its place in the audio that was cut, in seconds, and `seconds` is how long
    that is; of a run without audio, or with several, there is none. One that is `silent` has no
    audio and is not run. `speech` is the highest score that a detector gave it. `notes` are those
    on its audio.
    """

    values: Mapping[str, Any]
    channel: int = 0
    join: str = " "
    start: float | None = None
    end: float = 0.0
    seconds: float = 0.0
    silent: bool = False
    speech: float | None = None
    notes: tuple[str, ...] = ()

    def segments(self, outputs: Mapping[str, Any]) -> tuple[ResultSegment, ...]:
        """Return what it gave with its place; nothing where it has none."""
        if self.start is None:
            return ()
        return (
            ResultSegment(self.start, self.end, outputs, self.channel, self.silent, self.speech),
        )


def split_audio(planned: PlannedRun, detector: Callable[[str], Detector]) -> Iterator[AudioPiece]:
    """Yield the values of each piece: a single one if nothing is split, or nothing is long.

    Audio is resampled as a whole, at the rate that its consumers want. Every sample is in one
    piece; each channel that is asked for is cut by itself. What is fed is taken as it is.
    `detector` returns that of a component.
    """
    values = planned.values
    several = [name for name, value in values.items() if isinstance(value, Channels | Recordings)]
    if len(several) > 1:
        message = f"'{several[0]}' and '{several[1]}' would both be run for each channel"
        raise ComposerError(Problem("R542", message, hint="choose one channel of one of them"))
    for name in several:
        _require_joinable(planned.plan, name)
        for number, audio in enumerate(values[name].each):
            yield from _Splitter(planned, {**values, name: audio}, number, detector).pieces()
        return
    yield from _Splitter(planned, values, 0, detector).pieces()


@dataclass(frozen=True)
class _Splitter:
    """The values of a run, of one channel where each is run by itself."""

    planned: PlannedRun
    values: Mapping[str, Any]
    channel: int
    detector: Callable[[str], Detector]

    def pieces(self) -> Iterator[AudioPiece]:
        left_alone = self.planned.plan.unread | self.planned.feed
        for name, entry in self.planned.plan.graph.inputs.items():
            audio = self.values.get(name)
            if entry.split and isinstance(audio, Audio | Recording) and name not in left_alone:
                yield from self._cut(name, entry.split, audio)
                return
        yield self._whole()

    def _cut(self, name: str, entry: Split, audio: Audio | Recording) -> Iterator[AudioPiece]:
        scores = self.detector(entry.vad).scores(audio) if entry.vad else None
        if isinstance(audio, Audio) and audio.seconds <= entry.seconds:
            yield self._whole(entry.join, scores)
            return
        rate = _rate(self.planned.plan, name) or audio.rate
        for each in cut(audio, rate, entry.seconds, scores, not self.planned.looks_inside):
            yield AudioPiece(
                {**self.values, name: each.audio},
                self.channel,
                entry.join,
                each.start,
                each.stop,
                audio.seconds,
                each.audio is None,
                each.speech,
                audio.notes,
            )

    def _whole(self, join: str = " ", scores: SpeechScores | None = None) -> AudioPiece:
        """Return a piece that is all there is."""
        audios = [value for value in self.values.values() if isinstance(value, Audio)]
        notes: list[str] = []
        for audio in audios:
            notes += audio.notes
        piece = AudioPiece(self.values, self.channel, join, notes=tuple(notes))
        if len(audios) != 1:
            return piece
        seconds = audios[0].seconds
        speech = scores.highest(0.0, seconds) if scores else None
        silent = speech is not None and speech < SILENT and not self.planned.looks_inside
        return replace(piece, start=0.0, end=seconds, seconds=seconds, silent=silent, speech=speech)


def _require_joinable(plan: Plan, name: str) -> None:
    """Refuse one run per channel if an output cannot be joined."""
    for output, value in plan.graph.outputs.items():
        port = plan.graph.values[value].port
        if port and port.kind != "text" and (port.kind != "tensor" or len(port.dims) != 1):
            message = f"each channel of '{name}' gives an '{output}' of its own"
            hint = "choose one channel: texts can be put together, and tensors of one axis"
            raise ComposerError(Problem("R542", message, hint=hint))


def _rate(plan: Plan, name: str) -> int | None:
    """Return the rate that all consumers of an input want, None where they differ or want none."""
    rates = set()
    for step in plan.steps:
        for key, value in step.node.wires.items():
            if value == name:
                rates.add(step.wants[key].dims[:1])
    if len(rates) != 1:
        return None
    (dims,) = rates
    return dims[0] if dims and isinstance(dims[0], int) else None
