"""Transcribe clips, each failure in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.formats.audio import Channel, Clip, Source
from composer.jobs.bundle import AnyBundle, Options, opened
from composer.jobs.cut_short import CutShort, cut_short
from composer.jobs.progress import OnProgress, Progress, no_progress
from composer.jobs.speech import SpeechTask, speech_task
from composer.runtime.result import Result


@dataclass(frozen=True)
class Transcription:
    """What a bundle made of one clip, or the problems that the clip failed with.

    `text` is the transcript, None of a clip that failed; `outputs` is all that the task gives, by
    name. `seconds` is the time that its nodes took. `cut_short` says where a limit cut the text,
    `notes` how far a recording that was cut short was read, and which channel.
    """

    clip: Source
    text: str | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    tokens: int = 0
    seconds: float = 0.0
    cut_short: CutShort | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        """Return what the clip is called: its path, or - for bytes."""
        return "-" if isinstance(self.clip, bytes) else str(self.clip)

    @property
    def ok(self) -> bool:
        """Return whether there is a transcript."""
        return not self.problems


def transcribe(
    bundle: AnyBundle,
    clips: Iterable[Source],
    *,
    task: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    channel: Channel | None = None,
    partial: bool = False,
    in_flight: int = 2,
    on_transcription: Callable[[Transcription], None] | None = None,
    progress: OnProgress = no_progress,
) -> tuple[Transcription, ...]:
    """Transcribe clips with a bundle that is loaded once; return them in the order of the clips.

    A clip is a path, the bytes of an audio file, (samples, rate), or an Audio. `inputs` are the
    task's other inputs, as `{"language": "English"}`; `options` override options by node, as
    `{"answer": {"max_tokens": 64}}`. `channel` takes one of a clip's channels in place of what the
    bundle says, `partial` reads clips that were cut short as far as they go. `in_flight` clips are
    run at once. `on_transcription` is
    called with each as soon as it and all before it are done; `progress` with the stages
    "fetching", "loading", and "transcribing" after each clip.

    A clip that cannot be read or run stops no other: it has `problems` in place of a text. Raise
    ComposerError where the bundle is refused or does not load (any code), where the task is not one
    that turns audio into text (R543), or where inputs or options do not fit (R540 to R544).
    """
    clips = list(clips)
    with opened(bundle) as ready:
        speech = speech_task(ready, task, inputs or {}, options or {})
        speech.load(progress)
        progress(Progress("transcribing", ready.name, 0, len(clips)))
        results = ready.map(
            ({**speech.inputs, speech.audio: Clip(clip, channel, partial)} for clip in clips),
            in_flight=in_flight,
            task=speech.graph.task,
            options=speech.options,
        )
        done: list[Transcription] = []
        for clip, result in zip(clips, results, strict=True):
            done.append(_transcription(speech, clip, result))
            if on_transcription:
                on_transcription(done[-1])
            progress(Progress("transcribing", ready.name, len(done), len(clips)))
    return tuple(done)


def _transcription(
    speech: SpeechTask, clip: Source, result: Result | ComposerError
) -> Transcription:
    if isinstance(result, ComposerError):
        return Transcription(clip, problems=result.problems)
    return Transcription(
        clip,
        str(result.outputs[speech.text]),
        result.outputs,
        result.finish_reason,
        result.tokens,
        sum(result.timings.values()),
        cut_short(result, speech.graph, speech.options),
        result.notes,
    )
