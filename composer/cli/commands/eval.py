"""Measure a bundle's word and character error rate on clips whose text is known.

Nothing is done to the texts unless -n names a normaliser, and the report names what made the
numbers: the bundle's digests, the settings, the normaliser and its version. A clip that fails
is counted separately, and the exit code is 5.

With -o the hypotheses are kept as they are, so that another run scores them again without
running anything, and one that was killed resumes. --against compares two such results clip by
clip, by a paired bootstrap.

Example: composer eval mega-asr-mini clips/references.jsonl -o out -n whisper-en
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, SpeechFlags, with_flags
from composer.cli.options import Force, Json
from composer.cli.printing import echo, print_note
from composer.cli.progress import show_progress
from composer.core.errors import FAILED
from composer.core.output import json_text
from composer.core.terminal import escape_control_characters, escape_line

if TYPE_CHECKING:
    from composer.evaluation.evaluation import Evaluation

COLOURS = {"S": "\x1b[33m", "D": "\x1b[31m", "I": "\x1b[34m"}


@with_flags()
def command(
    bundle: BundleFlags,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A JSONL or CSV file with a clip and its text a line, "
                       "or a folder of clips with metadata, or with a text beside each.",
                       show_default=False),
    ],
    speech: SpeechFlags,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Keep results, report and an HTML "
                     "page here; an evaluation that was stopped resumes from them."),
    ] = None,
    force: Force = False,
    normalizer: Annotated[
        str,
        typer.Option("-n", "--normalizer", metavar="NAME", help="What is done to the texts before "
                     "words are counted, such as whisper-en; doctor lists all."),
    ] = "none",
    against: Annotated[
        Path | None,
        typer.Option(metavar="RESULTS", help="Compare with another evaluation's results.jsonl."),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="Give the words of the transcripts their times, by an "
                     "aligner such as aligner-mini, to play from on the page."),
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
    json: Json = False,
) -> None:  # fmt: skip
    from composer.cli.values import parse_channel
    from composer.jobs.evaluate import evaluate
    from composer.jobs.speech import speech_graph

    channel = parse_channel(speech.channel)
    with bundle.open() as opened, show_progress() as progress:
        graph = speech_graph(opened, speech.task)
        values, options = speech.read(graph)
        found = evaluate(
            opened,
            data,
            task=graph.task,
            inputs=values,
            options=options,
            channel=channel,
            partial=speech.partial,
            normalizer=normalizer,
            text_field=text,
            by=by or (),
            against=against,
            align=align,
            folder=output,
            force=force,
            in_flight=speech.jobs,
            progress=progress,
        )
    _print(found, by or (), show, json)
    if found.failed:
        raise typer.Exit(FAILED)


def _print(found: Evaluation, by: Sequence[str], show: int, json: bool) -> None:
    from composer.evaluation.report import report_json, report_text

    for each in found.failed:
        for problem in each.error or ():
            print_note(f"{each.id}: {problem['code']} {problem['message']}")
    for scored in found.scored:
        for text in scored.transcript.notes or ():
            print_note(f"{scored.clip.id}: {text}")
    if json:
        echo(json_text(report_json(found, by)))
        return
    echo(report_text(found, by))
    _show_worst(found, show)


def _show_worst(found: Evaluation, show: int) -> None:
    from composer.evaluation.alignment_view import alignment_text

    wide = shutil.get_terminal_size().columns
    colour = not os.environ.get("NO_COLOR")

    def paint(text: str, mark: str) -> str:
        if not sys.stdout.isatty():
            return text
        return (
            f"{COLOURS[mark]}{escape_control_characters(text)}\x1b[0m"
            if colour and mark in COLOURS
            else escape_control_characters(text)
        )

    worst = sorted(found.scored, key=lambda each: -each.score.words.errors)[:show]
    for each in worst:
        if each.score.words.errors:
            rows = alignment_text(each.score.spans, wide, paint)
            sys.stdout.write(f"\n{escape_line(each.clip.id)}\n{rows}\n")
