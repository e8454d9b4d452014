"""Run a bundle once and print what it gives.

One output is printed alone, several as `name: value`. With --json there is one object with
outputs, finish_reason, tokens, the seconds that each node took, notes on its audio; when the
bundle is refused or the run fails, one with bundle, ok (false) and problems, as composer check
--json prints it.

Example: composer run mega-asr-mini -i audio=clip.wav -i language=English
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.flags import BundleFlags, TaskFlags, with_flags
from composer.cli.options import (
    ChannelOf,
    Force,
    Json,
    Partial,
)
from composer.cli.printing import echo, print_note, problems_json, show_status
from composer.cli.results import outputs_lines, outputs_text, result_json, truncation_warning
from composer.core.errors import ComposerError
from composer.core.output import OutputFile, json_text

if TYPE_CHECKING:
    from composer.runtime.bundle import Bundle
    from composer.runtime.result import Result


@with_flags()
def command(
    bundle: BundleFlags,
    flags: TaskFlags,
    clip: Annotated[
        str | None,
        typer.Argument(
            metavar="[CLIP]", help="The audio input, in place of -i NAME=CLIP.", show_default=False
        ),
    ] = None,
    channel: ChannelOf = None,
    partial: Partial = False,
    force: Force = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the text as it is decoded.")
    ] = False,
    json: Json = False,
    taps: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep every value of the graph in a .safetensors file."),
    ] = None,
    feed: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take values from such a file in place of computing."),
    ] = None,
) -> None:
    from composer.cli.values import parse_channel, parse_inputs, parse_options
    from composer.comparison.dump import read_feed
    from composer.formats.value_file import pack_values
    from composer.jobs.cut_short import cut_short
    from composer.jobs.speech import audio_input

    chosen = parse_channel(channel)
    if stream and json:
        raise typer.BadParameter("--stream prints text and --json one object: choose one")
    try:
        target = OutputFile(taps, force) if taps else None
        with bundle.open() as opened:
            graph = opened.checked.graphs[opened.task(flags.task)]
            given: dict[str, Any] = {
                "task": graph.task,
                "options": parse_options(graph, flags.set),
                "feed": read_feed(feed) if feed else {},
                "taps": taps is not None,
            }
            inputs = list(flags.input or ())
            if clip is not None:
                inputs.append(f"{audio_input(graph)}={clip}")
            values = parse_inputs(graph, inputs, chosen, partial)
            opened.fetch(graph.task)
            if stream:
                result = _streamed(opened, given, values)
            else:
                with show_status(f"running {opened.name}"):
                    result = opened.run(**given, **values)
            if target:
                about = {"bundle": opened.name, "task": graph.task}
                target.write(pack_values(result.taps, about))
    except ComposerError as error:
        if not json:
            raise
        echo(problems_json(bundle.title(), error.problems))
        raise typer.Exit(error.exit_code) from None
    if json:
        echo(json_text(result_json(result, opened.name)))
    elif not stream:
        echo(outputs_text(result.outputs))
    for text in result.notes:
        print_note(text)
    warning = truncation_warning(cut_short(result, graph, given["options"]))
    if warning:
        print_note(warning)


def _streamed(bundle: Bundle, given: dict[str, Any], values: dict[str, Any]) -> Result:
    """Print the text as it comes, then the outputs that are more than that text."""
    pieces = []
    stream = bundle.stream(**given, **values)
    for piece in stream:
        pieces.append(piece)
        echo(piece, end="")
    if pieces:
        echo()
    result = stream.result
    assert result is not None
    text = "".join(pieces)
    rest = {name: value for name, value in result.outputs.items() if not _same(value, text)}
    if rest:
        echo(outputs_lines(rest))
    return result


def _same(value: Any, text: str) -> bool:
    return isinstance(value, str) and value.strip() == text.strip()
