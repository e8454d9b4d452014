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

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, SpeechFlags, with_flags
from composer.cli.options import (
    ChannelOf,
    Force,
    Partial,
)
from composer.cli.printing import note
from composer.cli.progress import showing
from composer.cli.transcripts import TranscriptWriter, expand_folders, require_distinct
from composer.core.errors import FAILED
from composer.core.output import sole_writer

if TYPE_CHECKING:
    from composer.jobs.progress import Progress


@with_flags()
def command(
    bundle: BundleFlags,
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP...", help="Audio files, folders of them, or - for stdin.",
                       show_default=False),
    ],
    speech: SpeechFlags,
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
    force: Force = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave out clips whose transcript is in DIR already."),
    ] = False,
    channel: ChannelOf = None,
    partial: Partial = False,
) -> None:  # fmt: skip
    from composer.cli.values import chosen_channel
    from composer.jobs.output_format import output_format
    from composer.jobs.speech import speech_graph
    from composer.jobs.transcribe import transcribe as transcribe_clips

    chosen = chosen_channel(channel)
    writes = output_format(format)
    if resume and (force or output is None):
        raise typer.BadParameter("--resume goes on in a folder: give -o, and no --force")
    clips = expand_folders(clips)
    require_distinct(clips, writes, output)
    writer = TranscriptWriter(writes, output, force, resume)
    with ExitStack() as stack:
        if output:
            stack.enter_context(sole_writer(output))
        missing = writer.open(clips)
        opened = stack.enter_context(bundle.open())
        show = stack.enter_context(showing(over_results=output is None))

        def follow(step: Progress) -> None:
            writer.follow(step)
            show(step)

        graph = speech_graph(opened, speech.task)
        values, options = speech.read(graph)
        try:
            found = transcribe_clips(
                opened,
                [sys.stdin.buffer.read() if clip == "-" else clip for clip in missing],
                task=graph.task,
                inputs=values,
                options=options,
                channel=chosen,
                partial=partial,
                in_flight=speech.jobs,
                on_transcription=writer.add,
                progress=follow,
            )
        finally:
            writer.close()
    failed = sum(not each.ok for each in found)
    if failed:
        note(f"{failed} of {len(missing)} clips failed")
        raise typer.Exit(FAILED)
