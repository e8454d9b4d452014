"""Say when the words of a text are spoken in a clip."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from composer.formats.audio.channels import Channel
from composer.formats.audio.reading import Source
from composer.jobs.aligner import aligner_of, read_whole
from composer.jobs.bundle import AnyBundle, open_bundle
from composer.jobs.progress import OnProgress, no_progress
from composer.jobs.words import Word, word_json


@dataclass(frozen=True)
class Alignment:
    """The words of a text with their times in a clip of `duration` seconds.

    `notes` say how far a recording that was cut short was read, and which channel.
    """

    text: str
    words: tuple[Word, ...]
    duration: float
    notes: tuple[str, ...] = ()


def align(
    bundle: AnyBundle,
    clip: Source,
    text: str,
    *,
    task: str | None = None,
    language: str | None = None,
    channel: Channel | None = None,
    partial: bool = False,
    progress: OnProgress = no_progress,
) -> Alignment:
    """Return when each word of a text is spoken in a clip.

    The clip is a path, the bytes of an audio file, (samples, rate), or an Audio; `language` a name
    or a code of ISO 639. `channel` is one of the clip's channels in place of their mix, `partial`
    reads a clip that was cut short as far as it goes. Raise ComposerError where the bundle is
    refused or does not load, where it aligns nothing (R543), and where clip, text or language are
    none that it takes (R527, R540 to R542, R554, R557).
    """
    with ExitStack() as stack:
        aligner = aligner_of(stack.enter_context(open_bundle(bundle)), task)
        audio = read_whole(clip, channel, partial)
        aligner.load(progress)
        words = aligner.words(audio, text, language)
        return Alignment(text, words, audio.seconds, audio.notes)


def alignment_json(made: Alignment) -> dict[str, Any]:
    """Return an alignment as JSON holds it."""
    return {
        "text": made.text,
        "duration": round(made.duration, 3),
        "words": [word_json(word) for word in made.words],
        "notes": list(made.notes),
    }
