"""`composer eval`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.opening import BundleFlags, opens
from composer.cli.options import (
    InFlight,
    Inputs,
    Json,
    Language,
    Settings,
    Task,
    with_language,
)
from composer.cli.printing import as_json, note, say, shown, waiting, write
from composer.cli.progress import progress
from composer.core.errors import FAILED

if TYPE_CHECKING:
    from composer.evaluation.data import Utterance
    from composer.evaluation.evaluation import Evaluation
    from composer.evaluation.journal import Transcript
    from composer.evaluation.listen import Listener
    from composer.evaluation.pace import Clock

RESULTS, TIMES, REPORT, PAGE = "results.jsonl", "times.jsonl", "report.json", "index.html"
COLOURS = {"S": "\x1b[33m", "D": "\x1b[31m", "I": "\x1b[34m"}


@opens()
def eval_(
    choice: BundleFlags,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A JSONL or CSV file with a clip and its text a line, "
                       "or a folder of clips with metadata, or with a text beside each.",
                       show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Keep results, report and an HTML "
                     "page here; an evaluation that was stopped goes on from them."),
    ] = None,
    normalizer: Annotated[
        str,
        typer.Option("-n", "--normalizer", metavar="NAME", help="What is done to the texts before "
                     "words are counted: none, release-000, whisper-en, open-asr or vitw."),
    ] = "none",
    against: Annotated[
        Path | None,
        typer.Option(metavar="RESULTS", help="Compare with another evaluation's results.jsonl."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Give the rate by a field of the data's lines. May be "
                     "repeated."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Take the reference from this field, where several "
                     "could be it."),
    ] = None,
    show: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show the alignment of the N worst.")
    ] = 3,
    input: Inputs = None,
    language: Language = None,
    task: Task = None,
    jobs: InFlight = 2,
    set: Settings = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Measure a bundle's word and character error rate on clips whose text is known.

    Nothing is done to the texts unless -n names a normaliser, and the report names what made the
    numbers: the bundle's digests, the settings, the normaliser and its version. A clip that fails
    is counted apart, and the exit code is 5.

    With -o the hypotheses are kept as they are, so that another run scores them anew without
    running anything, and one that was killed goes on. --against compares two such results clip by
    clip, by a paired bootstrap.

    Example: composer eval mega-asr-mini clips/references.jsonl -o out -n whisper-en
    """
    from composer.cli.values import inputs, settings
    from composer.core.suggest import did_you_mean, listed
    from composer.evaluation.data import read_data
    from composer.evaluation.evaluation import compare, evaluate, require_same_clips, require_words
    from composer.evaluation.journal import read_results
    from composer.evaluation.listen import Listener
    from composer.evaluation.normalizers import NORMALIZERS
    from composer.jobs.speech import speech_graph, speech_task
    from composer.runtime.provenance import made_from

    if normalizer not in NORMALIZERS:
        near = did_you_mean(normalizer, NORMALIZERS) or f"there are: {listed(NORMALIZERS)}"
        raise typer.BadParameter(f"there is no normaliser '{normalizer}'; {near}")
    clips = read_data(data, text)
    require_words(
        clips, NORMALIZERS[normalizer], data
    )  # and what the normaliser lacks, before a run
    fields = dict.fromkeys(name for clip in clips for name in clip.fields)
    for name in by or ():
        if name not in fields:
            near = did_you_mean(name, fields) or f"there are: {listed(fields)}"
            raise typer.BadParameter(f"no line of the data has a field '{name}'; {near}")
    other = read_results(against) if against else None
    if other and against:
        require_same_clips(clips, other, against)
    with choice.open() as opened:
        graph = speech_graph(opened, task)
        speech = speech_task(
            opened, task, inputs(graph, with_language(input, language)), settings(graph, set)
        )
        name, values, options = graph.task, speech.inputs, speech.options
        listener = Listener(opened, name, speech.audio, speech.text, values, options, jobs)
        made_by = made_from(opened, name, values, options)
        heard, clock = _hear(listener, clips, made_by, output)
    found = evaluate(data, made_by, clips, heard, NORMALIZERS[normalizer], clock.speed())
    if other and against:
        from dataclasses import replace

        found = replace(found, against=compare(found, other, against))
    _tell(found, by or (), output, show, json)
    if found.failed:
        raise typer.Exit(FAILED)


def _hear(
    listener: Listener, clips: Sequence[Utterance], made_by: Mapping[str, Any], output: Path | None
) -> tuple[dict[str, Transcript], Clock]:
    """Run what is not yet heard, write it as it comes, and return all of it."""
    from composer.evaluation.journal import Journal
    from composer.evaluation.listen import resumed
    from composer.evaluation.pace import Clock

    if output is None:
        clock, heard = Clock(None, listener.jobs), {}
        for each in _run(listener, clips, clock):
            heard[each.id] = each
        return heard, clock
    with Journal(output / RESULTS, made_by) as journal:
        if journal.fresh:
            (output / TIMES).unlink(missing_ok=True)
        clock = Clock(output / TIMES, listener.jobs)
        kept = resumed(clips, journal.heard, output / RESULTS)
        if kept:
            note(f"{len(kept)} of {len(clips)} clips are in {output / RESULTS} already")
        for each in _run(listener, [clip for clip in clips if clip.id not in kept], clock):
            journal.add(each)
        journal.settle([clip.id for clip in clips])
        return dict(journal.heard), clock


def _run(listener: Listener, clips: Sequence[Utterance], clock: Clock) -> Iterator[Transcript]:
    if not clips:
        return
    with waiting(f"loading {listener.bundle.name}"):
        listener.bundle.load(listener.task)
    clock.start()
    with progress("evaluating", len(clips), over_results=False) as advance:
        for each in listener.hear(clips):
            yield each
            clock.lap(each.seconds if each.error is None else None)
            advance()


def _tell(found: Evaluation, by: Sequence[str], output: Path | None, show: int, json: bool) -> None:
    """Print the report, and write it with its page where an output folder is given."""
    from composer.evaluation.page import page
    from composer.evaluation.report import report_json, report_text

    data = report_json(found, by)
    if output:
        write(output / REPORT, as_json(data) + "\n")
        write(output / PAGE, page(found, output, by))
    for each in found.failed:
        for problem in each.error or ():
            note(f"{each.id}: {problem['code']} {problem['message']}")
    if json:
        say(as_json(data))
        return
    say(report_text(found, by))
    _show_worst(found, show)


def _show_worst(found: Evaluation, show: int) -> None:
    from composer.evaluation.view import aligned

    wide = shutil.get_terminal_size().columns
    colour = not os.environ.get("NO_COLOR")

    def paint(text: str, mark: str) -> str:
        if not sys.stdout.isatty():
            return text
        return f"{COLOURS[mark]}{shown(text)}\x1b[0m" if colour and mark in COLOURS else shown(text)

    worst = sorted(found.scored, key=lambda each: -each.score.words.errors)[:show]
    for each in worst:
        if each.score.words.errors:
            said = aligned(each.score.spans, wide, paint)
            sys.stdout.write(f"\n{shown(each.clip.id)}\n{said}\n")
