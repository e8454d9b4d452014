"""Say when each word of a text is spoken.

The bundle is an aligner, such as aligner-mini or qwen3-forced-aligner-0-6b. A line has the start
and the end of a word in seconds, how probable the two are, the word, and an asterisk where one of
the times went back before another and was repaired. The text - is read from stdin.

Example: composer align aligner-mini clip.flac "four seven two"
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from composer.cli.flags import BundleFlags, with_flags
from composer.cli.options import ChannelOf, Json, Partial, Task
from composer.cli.printing import echo, print_note
from composer.cli.progress import show_progress


@with_flags()
def command(
    bundle: BundleFlags,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="An audio file.", show_default=False)],
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What is spoken in it, or - for stdin.",
                            show_default=False),
    ],
    language: Annotated[
        str | None,
        typer.Option("-l", "--language", metavar="NAME", help="What it is spoken in."),
    ] = None,
    task: Task = None,
    channel: ChannelOf = None,
    partial: Partial = False,
    json: Json = False,
) -> None:  # fmt: skip
    from composer.cli.values import parse_channel
    from composer.core.output import json_text
    from composer.jobs.align import align, alignment_json

    with bundle.open() as opened, show_progress() as progress:
        made = align(
            opened,
            clip,
            sys.stdin.read() if text == "-" else text,
            task=task,
            language=language,
            channel=parse_channel(channel),
            partial=partial,
            progress=progress,
        )
    if json:
        echo(json_text(alignment_json(made)))
        return
    for each in made.notes:
        print_note(f"{clip}: {each}")
    for word in made.words:
        mark = "*" if word.repaired else " "
        echo(f"{word.start:8.3f} {word.end:8.3f} {word.probability:6.3f} {mark} {word.text}")
