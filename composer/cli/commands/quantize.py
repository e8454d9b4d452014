"""Write a bundle with its weights quantized.

The new folder is a complete bundle: manifest, weights, lock, and quantization.json, which says of
each tensor where it comes from. A decoder's folder in it is also one of mlx-lm. Weights are read
and written in pieces, so that a model larger than the memory is converted. `composer explain
NAME` says what a recipe does.

Example: composer quantize elderwise-mini -o elderwise-4bit --precision decoder=mixed-8-4
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.flags import BundleFlags, with_flags
from composer.cli.options import Force
from composer.cli.printing import echo, print_note, print_problems
from composer.cli.progress import show_progress


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
    force: Force = False,
) -> None:
    from composer.core.units import format_bytes
    from composer.graph_drawing.text import weight_lines
    from composer.jobs.quantize import quantize

    with show_progress() as progress:
        made = quantize(
            bundle.options(), output, shard=int(shard_gb * 1e9), force=force, progress=progress
        )
    for name, weights in made.weights.items():
        for number, line in enumerate(weight_lines(weights)):
            echo(f"{name}: {line}" if number == 0 else line)
    print_problems(made.notes)
    for name in made.left_out:
        print_note(f"left out: the variant {name}")
    echo(
        f"{made.path}: {format_bytes(made.nbytes)}, of {format_bytes(made.read)} of weights "
        "that were quantized"
    )
