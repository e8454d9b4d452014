"""What a bundle made of one clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import Problem
from composer.formats.audio.reading import Source
from composer.jobs.cut_short import CutShort
from composer.jobs.words import Word


@dataclass(frozen=True)
class SpokenSegment:
    """The text of one piece of a clip, from `start` to `end` in seconds, of one of its channels.

    `ids` are the tokens that were decoded, `logprobs` the natural logarithms of their probabilities
    where these were asked for. The text has `text_ends` characters after each token, 0 or less
    where the token stands before it in the answer; empty where the text is not in the answer.
    `words` are those of the text, where their times or the probabilities of tokens were asked for.
    One that is `silent` was not run, and has no text. `speech` is the highest score that a detector
    of speech gave it, None without one. `suspicious` are the reasons not to trust its text.
    """

    start: float
    end: float
    text: str
    channel: int = 0
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    text_ends: tuple[int, ...] = ()
    words: tuple[Word, ...] = ()
    silent: bool = False
    speech: float | None = None
    suspicious: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transcription:
    """What a bundle made of one clip, or the problems that the clip failed with.

    `text` is the transcript, None of a clip that failed; `outputs` is all that the task gives, by
    name. `language` is the one that the task names, or was given. `seconds` is the time that its
    nodes took, `duration` how long the clip is, `prompt_tokens` how many rows the decoder was
    given, `temperature` that of its sampling, `timings` the seconds of each node. `cut_short` says
    where a limit cut the text, `notes` how far a recording that was cut short was read, and which
    channel. `segments` are the pieces that the clip was cut into, in the order of time: together
    they are all of it. Of all of it,
    `audio_seconds` with each channel that was run, `run_seconds` were run and `silent_seconds` are
    silence and were not. `task` is the name of the task.
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
    segments: tuple[SpokenSegment, ...] = ()
    language: str | None = None
    duration: float = 0.0
    audio_seconds: float = 0.0
    run_seconds: float = 0.0
    silent_seconds: float = 0.0
    prompt_tokens: int = 0
    temperature: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    task: str = "transcribe"

    @property
    def name(self) -> str:
        """Return what the clip is called: its path, or - where it has none."""
        return clip_name(self.clip)

    @property
    def words(self) -> tuple[Word, ...]:
        """Return the words of all segments that have any."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def ok(self) -> bool:
        """Return whether there is a transcript."""
        return not self.problems


def clip_name(clip: Source) -> str:
    """Return the path of a clip, or - where it has none."""
    return str(clip) if isinstance(clip, str | Path) else "-"
