"""Transcribe a corpus on several processes or machines, each clip once.

DATA is a JSONL or CSV file with a clip a line, a Parquet file, a folder of clips, a clip, or a
pattern. Each clip becomes a row in the files of DIR, with its text or with what went wrong, in the
order of the data. The same command continues what was stopped, whatever stopped it, and ends with
the same rows. At the end comes the account. The exit code is 5 where clips failed.

A clip whose worker crashes, or that takes longer than --timeout, is run again by itself, and fails
then. Workers divide the processors of a machine among them.

Example: composer batch mega-asr-mini clips/*.flac -o rows --workers 2
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, SpeechFlags, with_flags
from composer.cli.options import Json
from composer.cli.printing import echo, print_note
from composer.cli.progress import show_progress
from composer.core.errors import FAILED
from composer.core.output import json_text

if TYPE_CHECKING:
    from composer.corpus.row import Row


@with_flags()
def command(
    bundle: BundleFlags,
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help="JSONL, CSV or Parquet files, folders of clips, "
                       "clips, or patterns such as 'clips/**/*.wav'.", show_default=False),
    ],
    speech: SpeechFlags,
    output: Annotated[
        Path,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Write the shards and the account "
                     "here, or continue here.", show_default=False),
    ],
    format: Annotated[
        str, typer.Option("-f", "--format", metavar="jsonl|parquet", help="How rows are written.")
    ] = "jsonl",
    rows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows of a shard.")
    ] = 1000,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=4096, metavar="N", help="Start N processes, each of which loads "
                     "the bundle. Absent: 1, or with --ray one on each machine."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Start the workers on a Ray cluster, such as "
                     "10.0.0.1:6379 or auto; local starts one here."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="End a worker where a clip takes longer."),
    ] = 3600.0,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run clips again that failed in an earlier run.")
    ] = False,
    json: Json = False,
) -> None:  # fmt: skip
    from composer.cli.values import parse_channel
    from composer.jobs.batch import batch
    from composer.jobs.speech import speech_graph

    channel = parse_channel(speech.channel)
    with bundle.open() as opened:
        graph = speech_graph(opened, speech.task)
        values, options = speech.read(graph)
    # Ray prints what happens to machines, and results alone are for stdout.
    quiet = redirect_stdout(sys.stderr) if ray is not None else nullcontext()
    with quiet, show_progress() as progress:
        found = batch(
            bundle.options(),
            data,
            output,
            task=graph.task,
            inputs=values,
            options=options,
            channel=channel,
            partial=speech.partial,
            workers=workers,
            in_flight=speech.jobs,
            timeout=timeout,
            ray=ray,
            format=format,
            rows=rows,
            retry=retry,
            on_row=_print_problems,
            on_note=print_note,
            progress=progress,
        )
    echo(json_text(found.as_json()) if json else found.as_text())
    if found.failed:
        raise typer.Exit(FAILED)


def _print_problems(row: Row) -> None:
    for problem in row.error or ():
        print_note(f"{row.id}: {problem['code']} {problem['message']}")
