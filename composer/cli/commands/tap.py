"""Run a bundle and keep every value, for composer diff to compare others with.

The file contains each named value in graph order, inputs first, with its axes and true dtype; what
made them: bundle, files, options and libraries; and for a decoder that can replay its steps,
the logits before each token.

With several clips the noise of --floor averages out in composer diff, and faults smaller than it
are found; the diff says how small, and how many clips are sensible.

Example: composer tap mega-asr-mini clips/*.wav --floor bfloat16 -o reference.safetensors
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, TaskFlags, require_dtype, with_flags
from composer.cli.options import Clips, Force
from composer.cli.printing import count, print_note
from composer.cli.progress import show_progress
from composer.core.output import OutputFile

if TYPE_CHECKING:
    from composer.runtime.opening import BundleOptions


@with_flags()
def command(
    bundle: BundleFlags,
    flags: TaskFlags,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Write the dump to this .safetensors "
                     "file.", show_default=False),
    ],
    clips: Clips = None,
    force: Force = False,
    floor: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="Run once more with every component that has a "
                     "precision in this one, and keep how far that is as each stage's noise."),
    ] = None,
    floor_variant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Run once more as this variant, on another backend for "
                     "one, and keep how far that is as each stage's noise."),
    ] = None,
) -> None:  # fmt: skip
    from composer.jobs.record import add_noise_floor, record, replay_graph

    if output.suffix != ".safetensors":
        raise typer.BadParameter(f"a dump is a .safetensors file, not {output}")
    target = OutputFile(output, force)
    other = _floor(bundle, floor, floor_variant)
    with show_progress() as progress:
        with bundle.open() as opened:
            values, options = flags.read(replay_graph(opened, flags.task))
            dump = record(
                opened,
                values,
                clips=clips or (),
                task=flags.task,
                options=options,
                progress=progress,
            )
        if other:
            dump = add_noise_floor(dump, other, task=flags.task, options=options, progress=progress)
    target.write(dump.pack())
    of_clips = f" of {count(len(dump.clips), 'clip')}" if dump.further else ""
    print_note(f"{output}: {count(len(dump.stages), 'stage')}{of_clips}")


def _floor(bundle: BundleFlags, dtype: str | None, variant: str | None) -> BundleOptions | None:
    """Return the bundle whose difference is the noise: in another variant, or in one dtype."""
    from composer.jobs.record import with_precision

    if dtype is None and variant is None:
        return None
    options = (replace(bundle, variant=variant) if variant else bundle).options()
    return options if dtype is None else with_precision(options, require_dtype(dtype, "--floor"))
