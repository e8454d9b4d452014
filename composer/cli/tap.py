"""`composer tap`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.opening import BundleFlags, opens
from composer.cli.options import (
    Inputs,
    Settings,
    Task,
)
from composer.cli.printing import count, note, waiting
from composer.core.output import write_file

if TYPE_CHECKING:
    from composer.comparison.dump import Dump


@opens()
def tap(
    choice: BundleFlags,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Write the dump to this .safetensors "
                     "file.", show_default=False),
    ],
    input: Inputs = None,
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
    task: Task = None,
    set: Settings = None,
) -> None:  # fmt: skip
    """Run a bundle once and keep every value, for composer diff to hold others against.

    The file holds each named value in graph order, inputs first, with its axes and true dtype; what
    made them: bundle, files, options and libraries; and for a decoder that can replay its steps,
    the logits before each token.

    Example: composer tap mega-asr-mini -i audio=clip.wav -o reference.safetensors
    """
    from composer.comparison.tap import with_floor

    if output.suffix != ".safetensors":
        raise typer.BadParameter(f"a dump is a .safetensors file, and {output} is called otherwise")
    with waiting(f"running {choice.name}"):
        dump = dump_of(choice, task, input, set)
        if floor is not None or floor_variant is not None:
            other = replace(choice, variant=floor_variant) if floor_variant else choice
            other = _in(other, floor) if floor else other
            dump = with_floor(dump, dump_of(other, task, input, set, dump))
            if not any(each.floor and each.floor.l2 for each in dump.stages.values()):
                said = " in ".join(each for each in (floor_variant, floor) if each)
                raise typer.BadParameter(f"{said} changes nothing here: no noise was measured")
    write_file(output, dump.pack())
    note(f"{output}: {count(len(dump.stages), 'stage')}")


def dump_of(
    choice: BundleFlags,
    task: str | None,
    given: list[str] | None,
    set: list[str] | None,
    like: Dump | None = None,
) -> Dump:
    """Open a bundle, run it once and return all that it made, its steps with the ids of `like`."""
    from composer.cli.values import inputs, settings
    from composer.comparison.steps import with_steps
    from composer.comparison.tap import replayed, tap

    with choice.open() as opened:
        opened.checked = with_steps(opened.checked)
        name = opened.task(task)
        graph = opened.checked.graphs[name]
        values: dict[str, Any] = inputs(graph, given)
        options = settings(graph, set)
        made = tap(opened, name, values, options)
        return replayed(like, made, opened, name, options) if like else made


def _in(choice: BundleFlags, dtype: str) -> BundleFlags:
    """Return the same choice with all that has a precision in one dtype."""
    with choice.open() as opened:
        known = opened.checked.known
        asked = [
            f"{name}={dtype}" for name, each in known.items() if "precision" in each.cls.accepts
        ]
    return replace(choice, precision=asked)
