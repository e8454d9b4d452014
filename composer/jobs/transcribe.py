"""Transcribe clips, each failure in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import hold_folder_lock
from composer.formats.audio.channels import Channel
from composer.formats.audio.digest import source_digest
from composer.formats.audio.reading import Source
from composer.formats.audio.suffixes import SUFFIXES, is_clip
from composer.jobs.aligner import Aligner, aligner_of, one_segment_per_word
from composer.jobs.bundle import AnyBundle, Options, open_bundle
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import speech_task
from composer.jobs.transcript_folders import TranscriptFolders
from composer.jobs.transcription import Transcription
from composer.runtime.provenance import describe_run


def transcribe(
    bundle: AnyBundle,
    clips: Iterable[Source],
    *,
    task: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    channel: Channel | None = None,
    partial: bool = False,
    in_flight: int = 8,
    folder: str | Path | None = None,
    format: str | Sequence[str] = "jsonl",
    force: bool = False,
    resume: bool = False,
    logprobs: bool = False,
    align: AnyBundle | None = None,
    by_word: bool = False,
    on_transcription: Callable[[Transcription], None] | None = None,
    progress: OnProgress = no_progress,
) -> tuple[Transcription, ...]:
    """Transcribe clips with a bundle that is loaded once; return them in the order of the clips.

    A clip is a path, a folder of clips, the bytes of an audio file, (samples, rate), or an Audio.
    `inputs` are the task's other inputs, as `{"language": "English"}`; `options` override options
    by node, as `{"answer": {"max_tokens": 64}}`. `channel` takes one of a clip's channels in place
    of what the bundle says, `partial` reads clips that were cut short as far as they go.
    `in_flight` clips are run at once. With `logprobs` their segments have each token's, too, which
    formats such as verbose_json ask for. `align` is a bundle that says when each word is spoken,
    and with `by_word` each of these is a segment, as for subtitles word by word.
    `on_transcription` is called with each as soon as it and all before it are done; `progress` with
    the stages "fetching", "loading", and "transcribing" after each clip.

    With a `folder` each is also written there at once, in the output formats that `format` names:
    a file a clip, or a line in transcripts.jsonl; .run.FORMAT.jsonl remembers of which bytes and by
    what. With `resume`, clips whose transcript is there are left out of the run and of what is
    returned; one whose bytes are others by now is done again, and its notes say so. With `force`,
    files that are there are replaced.

    A clip that cannot be read or run stops no other: it has `problems` in place of a text. Raise
    ComposerError where the bundle is refused or does not load (any code), where the task is not one
    that turns audio into text (R543), where inputs, options or clips do not fit (R540 to R544),
    where the folder cannot be written or has such files (R507), or where a run with other settings
    would be resumed (R570).
    """
    found = expand_folders(clips)
    if by_word and align is None:
        hint = "name one: align=BUNDLE in Python, --align BUNDLE on the command line"
        raise ComposerError(Problem("R540", "words have no times without an aligner", hint=hint))
    with ExitStack() as stack:
        writer = None
        if folder:
            formats = [format] if isinstance(format, str) else list(format)
            writer = TranscriptFolders.of(Path(folder), formats, force, resume)
            logprobs |= any(each.format.logprobs for each in writer.each)
            writer.require_distinct(found)
            stack.enter_context(hold_folder_lock(Path(folder)))
            writer.refuse_existing(found)
        ready = stack.enter_context(open_bundle(bundle))
        aligner = aligner_of(stack.enter_context(open_bundle(align))) if align else None
        speech = speech_task(ready, task, inputs or {}, options or {}, channel, partial)
        if logprobs:
            speech = speech.with_logprobs()
        if writer:
            found = writer.open(found, {**speech.made_by(), **_aligned_by(aligner, by_word)})
        speech.load(progress)
        if aligner:
            aligner.load(progress)
        if writer:
            writer.begin()
        progress(JobProgress("transcribing", ready.name, 0, len(found)))
        digests: list[str | None] = []

        def items() -> Iterator[dict[str, Any]]:
            for clip in found:
                digests.append(source_digest(clip) if writer else None)
                yield {**speech.inputs, speech.audio: speech.clip(clip)}

        results = ready.map(
            items(),
            in_flight=in_flight,
            task=speech.graph.task,
            options=speech.options,
            taps=speech.taps,
        )
        done: list[Transcription] = []
        for number, (clip, result) in enumerate(zip(found, results, strict=True)):
            done.append(speech.transcription(clip, result))
            if aligner:
                done[-1] = aligner.transcribed(done[-1], speech.clip(clip))
                done[-1] = one_segment_per_word(done[-1]) if by_word else done[-1]
            if writer:
                done[-1] = writer.add(clip, done[-1], digests[number])
            if on_transcription:
                on_transcription(done[-1])
            progress(JobProgress("transcribing", ready.name, len(done), len(found)))
    return tuple(done)


def _aligned_by(aligner: Aligner | None, by_word: bool) -> dict[str, Any]:
    """Return what times of words depend on, in JSON types."""
    if aligner is None:
        return {}
    made_by = describe_run(aligner.bundle, aligner.graph.task, {}, {})
    return {"align": made_by, "by_word": by_word}


def expand_folders(clips: Iterable[Source]) -> list[Source]:
    """Return the clips, those of a folder in the place of the folder; raise R542 if it has none."""
    found: list[Source] = []
    for clip in clips:
        if not (isinstance(clip, str | Path) and Path(clip).is_dir()):
            found.append(clip)
            continue
        collected = []
        for path in Path(clip).rglob("*"):
            if is_clip(path):
                collected.append(path)
        inside = sorted(collected)
        if not inside:
            place, hint = Place(str(clip)), f"clips end in {', '.join(sorted(SUFFIXES))}"
            raise ComposerError(Problem("R542", "no clip is in the folder", place, hint=hint))
        found += map(str, inside)
    return found
