"""A bundle that says when the words of a text are spoken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.languages import in_spelling_of
from composer.core.suggest import listed
from composer.formats.audio.channels import Channel
from composer.formats.audio.clip import Clip
from composer.formats.audio.reading import Source
from composer.formats.audio.waveform import Audio, Channels
from composer.graph.graph import Graph
from composer.jobs.progress import JobProgress, OnProgress
from composer.jobs.segment_audio import SegmentAudio
from composer.jobs.speech import audio_input
from composer.jobs.transcription import SpokenSegment, Transcription
from composer.jobs.words import Word, timed_words, with_logprobs
from composer.runtime.bundle import Bundle
from composer.runtime.inputs import check_text_inputs

TASK, TRANSCRIPT, LANGUAGE = "align", "transcript", "language"
TIMES = ("start", "end", "probability", "repaired", "resolution", "limit", "spans")


@dataclass(frozen=True)
class Aligner:
    """A task of a bundle that takes audio and its transcript, and gives TIMES."""

    bundle: Bundle
    graph: Graph
    audio: str

    def load(self, progress: OnProgress) -> None:
        """Download what the task needs and is not here, and load it."""
        progress(JobProgress("fetching", self.bundle.name))
        self.bundle.fetch(self.graph.task)
        progress(JobProgress("loading", self.bundle.name))
        self.bundle.load(self.graph.task)

    def check(self, language: str | None, **text: str) -> None:
        """Raise ComposerError for a language (R527) or a transcript (R554) that is not aligned."""
        check_text_inputs(self.bundle.checked, self.graph, {**self._language(language), **text})

    def _language(self, language: str | None) -> dict[str, Any]:
        if not language or LANGUAGE not in self.graph.inputs:
            return {}
        return {LANGUAGE: in_spelling_of(language, "English")}

    def words(self, audio: Audio, text: str, language: str | None = None) -> tuple[Word, ...]:
        """Return the words of a text with their times in the audio.

        Raise ComposerError for a text or a language that is not aligned (R527, R554), and for audio
        that is longer than times reach (R557).
        """
        given = {**self._language(language), TRANSCRIPT: text, self.audio: audio}
        made = self.bundle.run(task=self.graph.task, **given).outputs
        limit = float(made["limit"][0])
        if audio.seconds > limit:
            message = f"{audio.seconds:.1f} s of audio are aligned at once, and the times of "
            message += f"{self.bundle.name} end at {limit:g} s"
            hint = "cut the clip, or align its segments"
            raise ComposerError(Problem("R557", message, hint=hint))
        return tuple(timed_words(text, made, self.bundle.name, audio.seconds))

    def transcribed(self, made: Transcription, clip: Clip | Audio | Channels) -> Transcription:
        """Return a transcription whose segments have words, aligned one by one.

        Where that is refused the notes say so, and the text stays.
        """
        if not any(segment.text for segment in made.segments):
            return made
        audio = SegmentAudio(clip)
        segments: list[SpokenSegment] = []
        notes = dict.fromkeys(made.notes)
        for segment in made.segments:
            try:
                words = self._segment(segment, audio, made.language)
            except ComposerError as error:
                words = ()
                notes[f"no times of words: {error.problems[0].message}"] = None
            segments.append(replace(segment, words=words))
        return replace(made, segments=tuple(segments), notes=tuple(notes))

    def _segment(
        self, segment: SpokenSegment, clip: SegmentAudio, language: str | None
    ) -> tuple[Word, ...]:
        """Return the words of a segment, which has its place in one of the clip's channels."""
        if not segment.text.strip():
            return ()
        words = self.words(clip.of(segment), segment.text, language)
        words = with_logprobs(words, segment.text, segment.text_ends, segment.logprobs)
        return tuple(word.later(segment.start) for word in words)


def aligner_of(bundle: Bundle, task: str | None = None) -> Aligner:
    """Return the task of a bundle that aligns; raise R543 where it has none."""
    if task is None and TASK in bundle.tasks:
        task = TASK
    graph = bundle.checked.graphs[bundle.task(task)]
    missing = [name for name in TIMES if name not in graph.outputs]
    if missing or TRANSCRIPT not in graph.inputs:
        if not missing:
            missing = [f"input {TRANSCRIPT}"]
        message = f"task '{graph.task}' of {bundle.name} is no aligner: it has no {listed(missing)}"
        raise ComposerError(Problem("R543", message, hint="take a bundle such as aligner-mini"))
    return Aligner(bundle, graph, audio_input(graph))


def one_segment_per_word(made: Transcription) -> Transcription:
    """Return a transcription each of whose words that has times is a segment of its own.

    A segment without any stays whole.
    """
    segments: list[SpokenSegment] = []
    for segment in made.segments:
        timed = [word for word in segment.words if word.start is not None]
        for word in timed:
            assert word.start is not None
            assert word.end is not None
            segments.append(
                SpokenSegment(word.start, word.end, word.text, segment.channel, words=(word,))
            )
        if not timed:
            segments.append(segment)
    return replace(made, segments=tuple(segments))


def read_whole(
    source: Source, channel: Channel | None, partial: bool, max_seconds: float | None = None
) -> Audio:
    """Return a clip as one waveform; `channel` is None for the mix."""
    found = Clip(source, channel or "mix", partial, max_seconds).read("mix")
    if isinstance(found, Channels):
        message = "a text is aligned to one channel"
        raise ComposerError(Problem("R540", message, hint="name a channel, or take the mix"))
    return found
