"""Transcribe audio files.

The bundle is loaded once, and transcripts come in the order of the clips. A clip that cannot
be read or run does not stop the others: its problem is printed, its line stays empty, and the
exit code is 5. What is done is written at once, so that an interrupt loses none of it. Of several
clips printed as text each line begins with the clip's name. Without BUNDLE, it is the one that
composer use has chosen.

In json and jsonl a clip is an object with audio, text, outputs (all that the bundle gives),
finish_reason, tokens, seconds, notes (what is to be known of the clip) and segments, the pieces
that it was run in, with their times; one that failed has audio and error, a list of problems. With
--align a segment has words, each with its times, how probable they are, and whether one was
repaired; with --logprobs it has tokens, logprobs, and words with a logprob each.

Example: composer transcribe mega-asr-mini *.wav -f srt -f json -o transcripts
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from composer.cli.completion import complete_format
from composer.cli.default_bundle import bundle_and_clips
from composer.cli.flags import BundleFlags, SpeechFlags, with_flags
from composer.cli.options import Force
from composer.cli.printing import print_note
from composer.cli.progress import show_progress
from composer.cli.transcripts import TranscriptPrinter
from composer.core.errors import FAILED
from composer.core.file_patterns import is_pattern, matching


@with_flags()
def command(
    bundle: BundleFlags,
    speech: SpeechFlags,
    clips: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIP...", help="Audio files, folders of them, patterns such as "
                       "'*.flac', or - for stdin.",
                       show_default=False),
    ] = None,
    format: Annotated[
        list[str],
        typer.Option("-f", "--format", metavar="NAME", autocompletion=complete_format,
                     help="Several with -o, each by its own -f. "
                     "txt: a line for each clip. json: one "
                     "array, or with -o an object in each file. jsonl: an object a line. srt, vtt, "
                     "tsv: a segment after another, one clip a file. verbose_json: as OpenAI's "
                     "API gives it, one clip a file. Or what another package brings."),
    ] = ["txt"],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Write a file for each clip, named "
                     "after it, or transcripts.jsonl."),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="Say when each word is spoken, by an aligner such as "
                     "aligner-mini."),
    ] = None,
    by_word: Annotated[
        bool, typer.Option("--by-word", help="With --align: each word is a segment, or a subtitle.")
    ] = False,
    logprobs: Annotated[
        bool,
        typer.Option("--logprobs", help="In json and jsonl: tokens and words with the logarithms "
                     "of their probabilities."),
    ] = False,
    force: Force = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave out clips whose transcript is in DIR already, of the "
                     "same audio; refuse a DIR of other settings."),
    ] = False,
) -> None:  # fmt: skip
    from composer.cli.values import parse_channel
    from composer.jobs.output_format import output_format
    from composer.jobs.speech import speech_graph
    from composer.jobs.transcribe import expand_folders, transcribe

    bundle, clips = bundle_and_clips(bundle, clips)
    if not clips:
        raise typer.BadParameter("Missing argument 'CLIP...'.")
    if clips.count("-") > 1:
        raise typer.BadParameter("- is standard input, which is read once: name it once")
    clips = _expand_patterns(clips)
    channel = parse_channel(speech.channel)
    writer = output_format(format[0])
    several = len(expand_folders(clips)) > 1
    printer = TranscriptPrinter(writer, output is not None, several)
    if len(format) > 1 and output is None:
        raise typer.BadParameter(f"{' and '.join(format)} go to files: give -o DIR")
    if writer.single and output is None and several:
        raise typer.BadParameter(f"{writer.name} holds one clip: give -o DIR for a file of each")
    if resume and output is None:
        raise typer.BadParameter("--resume goes on in a folder: give -o, and no --force")
    with bundle.open() as opened, show_progress(over_results=output is None) as progress:
        graph = speech_graph(opened, speech.task)
        values, options = speech.read(graph)
        try:
            found = transcribe(
                opened,
                [sys.stdin.buffer.read() if clip == "-" else clip for clip in clips],
                task=graph.task,
                inputs=values,
                options=options,
                channel=channel,
                partial=speech.partial,
                in_flight=speech.jobs,
                folder=output,
                format=format,
                force=force,
                resume=resume,
                logprobs=writer.logprobs or logprobs,
                align=align,
                by_word=by_word,
                on_transcription=printer.add,
                progress=progress,
            )
        finally:
            printer.close()
    failed = sum(not each.ok for each in found)
    if failed:
        print_note(f"{failed} of {len(found)} clips failed")
        raise typer.Exit(FAILED)


def _expand_patterns(clips: list[str]) -> list[str]:
    """Return what patterns match in their place; one that matches nothing fails as a clip."""
    found: list[str] = []
    for clip in clips:
        found += (is_pattern(clip) and matching(clip)) or [clip]
    return found
