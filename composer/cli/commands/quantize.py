"""Write a bundle with its weights quantized.

The new folder is a complete bundle: manifest, weights, lock, and quantization.json, which says of
each tensor where it comes from. A decoder's folder in it is also one of mlx-lm. Weights are read
and written in pieces, so that a model larger than the memory is converted. `composer explain
NAME` says what a recipe does.

With --calibrate the bundle runs on clips as it is stored, and what goes into each linear layer of
its decoder, encoders and projectors decides how that is rounded: the soft rows of speech, per-layer
inputs, and the adapter as the task has it. A file of plain text runs through the decoder alone.

Example: composer quantize elderwise-mini -o elderwise-4bit --precision decoder=mixed-8-4
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, with_flags
from composer.cli.options import Force, Inputs, Task
from composer.cli.printing import echo, echo_line, print_note, print_problems
from composer.cli.progress import show_progress

if TYPE_CHECKING:
    from composer.jobs.calibration import Calibration


@with_flags("threads", "provider", "device", "place", "task")
def command(
    bundle: BundleFlags,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="The new bundle's folder."),
    ],
    shard_gb: Annotated[
        float,
        typer.Option(min=0.001, max=1000, metavar="N", help="Write files of at most N GB."),
    ] = 5,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Calibrate on a clip, a folder of clips, or a file of "
                     "plain text, .txt. May be repeated."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(metavar="NAME", help="How to pack with --calibrate: gptq rounds each "
                     "column for those that follow, awq scales columns and clips groups, dwq "
                     "learns scales and biases."),
    ] = "gptq",
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of a method that learns.")
    ] = 0,
    task: Task = None,
    given: Inputs = None,
    force: Force = False,
) -> None:  # fmt: skip
    from composer.core.units import format_bytes
    from composer.graph_drawing.text import weight_lines
    from composer.jobs.quantize import quantize

    calibration = None
    if calibrate:
        calibration = _calibration(bundle, calibrate, method, seed, task, given)
    elif task or given:
        raise typer.BadParameter("--task and -i belong to --calibrate")
    with show_progress() as progress:
        made = quantize(
            bundle.options(),
            output,
            calibration=calibration,
            shard=int(shard_gb * 1e9),
            force=force,
            progress=progress,
        )
    for name, weights in made.weights.items():
        for number, line in enumerate(weight_lines(weights)):
            echo(f"{name}: {line}" if number == 0 else line)
    print_problems(made.notes)
    for name in made.left_out:
        print_note(f"left out: the variant {name}")
    echo_line(
        f"{made.path}: {format_bytes(made.nbytes)}, of {format_bytes(made.read)} of weights "
        "that were quantized"
    )


def _calibration(
    bundle: BundleFlags,
    sources: list[str],
    method: str,
    seed: int,
    task: str | None,
    given: list[str] | None,
) -> Calibration:
    from composer.cli.values import parse_inputs
    from composer.jobs.calibration import Calibration
    from composer.jobs.speech import speech_graph

    inputs = {}
    if given:
        inputs = parse_inputs(speech_graph(bundle.open(), task), given)
    return Calibration(tuple(sources), method, task, inputs, seed)
