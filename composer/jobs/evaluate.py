"""Measure a bundle's error rates on clips whose text is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial as with_arguments
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.output import json_text, refuse_existing, write_file
from composer.core.suggest import did_you_mean, listed
from composer.evaluation import evaluation as scoring
from composer.evaluation.data import read_data
from composer.evaluation.evaluation import Evaluation
from composer.evaluation.journal import Journal, Transcript, read_results
from composer.evaluation.normalizer import Normalizer, normalizers
from composer.evaluation.normalizer import normalizer as find_normalizer
from composer.evaluation.page import html_page
from composer.evaluation.report import report_json
from composer.evaluation.timing import Clock
from composer.evaluation.transcriber import Transcriber, reusable_transcripts
from composer.evaluation.utterance import Utterance
from composer.formats.audio.channels import Channel
from composer.formats.audio.waveform import Audio, Channels
from composer.jobs.aligner import Aligner, aligner_of
from composer.jobs.bundle import AnyBundle, Options, open_bundle
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.jobs.speech import SpeechTask, speech_task
from composer.jobs.words import word_json
from composer.runtime.provenance import describe_run
from composer.runtime.result import Result

RESULTS, TIMES, REPORT, PAGE = "results.jsonl", "times.jsonl", "report.json", "index.html"
OnTranscript = Callable[[Transcript], None]


def evaluate(
    bundle: AnyBundle,
    data: str | Path,
    *,
    task: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    channel: Channel | None = None,
    partial: bool = False,
    normalizer: str = "none",
    text_field: str | None = None,
    by: Sequence[str] = (),
    against: str | Path | None = None,
    align: AnyBundle | None = None,
    folder: str | Path | None = None,
    force: bool = False,
    in_flight: int = 8,
    on_transcript: OnTranscript | None = None,
    progress: OnProgress = no_progress,
) -> Evaluation:
    """Run a bundle on clips whose text is known, and return its word and character error rates.

    `data` is a JSONL or CSV file with a clip and its text a line, or a folder of clips; the text
    is that of `text_field`, where several fields could be it. `normalizer` names what is done to
    the texts before words are counted. `inputs`, `options`, `channel`, `partial` and `in_flight`
    are those of `transcribe`; `align` is an aligner, which gives the words of the transcripts their
    times, to play from on the page. `against` is another evaluation's results.jsonl, to compare
    with clip by clip.

    With a `folder` its results.jsonl grows by a line a clip, so that an evaluation that was stopped
    resumes from there, and another scores the same hypotheses without running anything; report.json
    and index.html are written at the end, with the rate by each field of `by`.
    Files of these names that no evaluation wrote stay, unless there is `force`.

    `.words.rate` and `.characters.rate` are fractions, `.wer` and `.cer` their confidence
    intervals, `.speed.rtf` wall time over audio, both in seconds. Clips that failed are in
    `.failed`, and in no rate. `on_transcript` is called with each clip that is run; `progress` with
    the stages "resuming" (clips that the folder has), "loading", and "evaluating" after each clip.

    Raise ComposerError where the bundle is refused or does not load (any code), where the call is
    wrong (R540 to R544), where the data cannot be used (R572, R580 to R584), where what the folder
    contains is of something else (R570, R571, R575, R576), where the other results are not of these
    clips (R574), or where a file cannot be written (R507).
    """
    data, rule = Path(data), _normalizer(normalizer)
    clips = read_data(data, text_field)
    scoring.require_words(clips, rule, data)
    _require_fields(clips, by)
    other = read_results(Path(against)) if against else None
    if other and against:
        scoring.require_same_clips(clips, other, Path(against))
    output = Path(folder) if folder else None
    if output and not (output / RESULTS).exists():
        for name in (REPORT, PAGE, TIMES):
            refuse_existing(output / name, force)
    with ExitStack() as stack:
        ready = stack.enter_context(open_bundle(bundle))
        aligner = aligner_of(stack.enter_context(open_bundle(align))) if align else None
        speech = speech_task(ready, task, inputs or {}, options or {}, channel, partial)
        transcriber = Transcriber(
            ready,
            speech.graph.task,
            speech.audio,
            speech.text,
            speech.inputs,
            speech.options,
            in_flight,
            speech.channel,
            speech.partial,
            speech.taps,
            with_arguments(_details, speech, aligner),
        )
        made_by = {**speech.made_by(), **_aligned_by(aligner)}
        if aligner:
            aligner.load(progress)
        transcripts, clock = _transcripts(
            transcriber, clips, made_by, output, on_transcript or (lambda _: None), progress
        )
    found = scoring.evaluate(data, made_by, clips, transcripts, rule, clock.speed())
    if other and against:
        found = replace(found, against=scoring.compare(found, other, Path(against)))
    if output:
        write_file(output / REPORT, json_text(report_json(found, by)) + "\n")
        write_file(output / PAGE, html_page(found, output, by))
    return found


def _details(
    speech: SpeechTask, aligner: Aligner | None, audio: Audio | Channels, result: Result
) -> dict[str, Any]:
    """Return why not to trust a transcript, and its words with their times where it is aligned."""
    made = speech.transcription("", result)
    reasons = []
    for part in made.segments:
        reasons += [f"{part.start:.2f} to {part.end:.2f} s: {each}" for each in part.suspicious]
    words, notes = [], []
    if aligner:
        made = aligner.transcribed(made, audio)
        words = [word_json(word) for word in made.words if word.start is not None]
        notes = list(made.notes[len(result.notes) :])
    return {"suspicious": reasons or None, "words": words or None, "notes": notes}


def _aligned_by(aligner: Aligner | None) -> dict[str, Any]:
    """Return what times of words depend on, in JSON types."""
    if aligner is None:
        return {}
    return {"align": describe_run(aligner.bundle, aligner.graph.task, {}, {})}


def _normalizer(name: str) -> Normalizer:
    if name not in normalizers():
        near = did_you_mean(name, normalizers()) or f"there are: {listed(normalizers())}"
        raise ComposerError(Problem("R544", f"there is no normaliser '{name}'; {near}"))
    return find_normalizer(name)


def _require_fields(clips: Sequence[Utterance], names: Sequence[str]) -> None:
    """Raise R544 for a field that no line of the data has."""
    fields = dict.fromkeys(name for clip in clips for name in clip.fields)
    for name in names:
        if name not in fields:
            near = did_you_mean(name, fields) or f"there are: {listed(fields)}"
            message = f"no line of the data has a field '{name}'; {near}"
            raise ComposerError(Problem("R544", message))


def _transcripts(
    transcriber: Transcriber,
    clips: Sequence[Utterance],
    made_by: Mapping[str, Any],
    folder: Path | None,
    on_transcript: OnTranscript,
    progress: OnProgress,
) -> tuple[Mapping[str, Transcript], Clock]:
    """Run the clips that the folder has no transcript of, and return all by their ids."""
    if folder is None:
        clock, found = Clock(None, transcriber.jobs), {}
        for each in run_clips(transcriber, clips, clock, progress):
            found[each.id] = each
            on_transcript(each)
        return found, clock
    with Journal(folder / RESULTS, made_by) as journal:
        if journal.is_new:
            (folder / TIMES).unlink(missing_ok=True)
        clock = Clock(folder / TIMES, transcriber.jobs)
        kept = reusable_transcripts(clips, journal.transcripts, folder / RESULTS)
        if kept:
            progress(JobProgress("resuming", str(folder / RESULTS), len(kept), len(clips)))
        missing = [clip for clip in clips if clip.id not in kept]
        for each in run_clips(transcriber, missing, clock, progress):
            journal.add(each)
            on_transcript(each)
        journal.put_in_order([clip.id for clip in clips])
        return dict(journal.transcripts), clock


def run_clips(
    transcriber: Transcriber,
    clips: Sequence[Utterance],
    clock: Clock,
    progress: OnProgress = no_progress,
) -> Iterator[Transcript]:
    """Load the bundle and yield what each clip gave; the clock counts from then on."""
    if not clips:
        return
    name = transcriber.bundle.name
    progress(JobProgress("loading", name))
    transcriber.bundle.load(transcriber.task)
    clock.start()
    progress(JobProgress("evaluating", name, 0, len(clips)))
    for done, each in enumerate(transcriber.transcribe(clips), 1):
        yield each
        seconds = each.seconds if each.error is None else None
        clock.lap(seconds)
        progress(JobProgress("evaluating", name, done, len(clips)))
