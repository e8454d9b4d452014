"""Transcribe audio files.

The bundle is loaded once, and transcripts come in the order of the clips. A clip that cannot
be read or run does not stop the others: its problem is printed, its line stays empty, and the
exit code is 5. What is done is written at once, so that an interrupt loses none of it.

In json and jsonl a clip is an object with audio, text, outputs (all that the bundle gives),
finish_reason, tokens, seconds and notes (what is to be known of the clip); one that failed has
audio and error, a list of problems.

Example: composer transcribe mega-asr-mini *.wav -f jsonl -o transcripts
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.opening import BundleFlags, opens
from composer.cli.options import (
    ChannelOf,
    InFlight,
    Inputs,
    Language,
    Partial,
    Settings,
    Task,
    with_language,
)
from composer.cli.printing import note
from composer.cli.progress import showing
from composer.cli.transcripts import TranscriptWriter, require_distinct
from composer.core.errors import FAILED

if TYPE_CHECKING:
    from composer.jobs.progress import Progress


@opens()
def command(
    bundle: BundleFlags,
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Audio files.", show_default=False)
    ],
    format: Annotated[
        str,
        typer.Option("-f", "--format", metavar="NAME", help="txt: a line for each clip. json: one "
                     "array, or with -o an object in each file. jsonl: an object a line. Or what "
                     "another package brings."),
    ] = "txt",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Write a file for each clip, named "
                     "after it, or transcripts.jsonl."),
    ] = None,
    input: Inputs = None,
    language: Language = None,
    channel: ChannelOf = None,
    partial: Partial = False,
    task: Task = None,
    jobs: InFlight = 2,
    set: Settings = None,
) -> None:  # fmt: skip
    from composer.cli.values import chosen_channel, inputs, settings
    from composer.jobs.output_format import output_format
    from composer.jobs.speech import speech_graph
    from composer.jobs.transcribe import transcribe as transcribe_clips

    chosen = chosen_channel(channel)
    writes = output_format(format)
    require_distinct(clips, writes, output)
    given = with_language(input, language)
    writer = TranscriptWriter(writes, output)
    with bundle.open() as opened, showing(over_results=output is None) as show:

        def follow(step: Progress) -> None:
            writer.follow(step)
            show(step)

        graph = speech_graph(opened, task)
        values, options = inputs(graph, given), settings(graph, set)
        try:
            found = transcribe_clips(
                opened,
                clips,
                task=graph.task,
                inputs=values,
                options=options,
                channel=chosen,
                partial=partial,
                in_flight=jobs,
                on_transcription=writer.add,
                progress=follow,
            )
        finally:
            writer.close()
    failed = sum(not each.ok for each in found)
    if failed:
        note(f"{failed} of {len(clips)} clips failed")
        raise typer.Exit(FAILED)
