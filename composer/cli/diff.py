"""`composer diff`."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.opening import BundleFlags, opens
from composer.cli.options import (
    Inputs,
    Json,
    Settings,
    Task,
)
from composer.cli.printing import say, waiting
from composer.cli.tap import dump_of
from composer.core.errors import DIFFERS
from composer.core.output import as_json, write_file
from composer.core.suggest import did_you_mean

if TYPE_CHECKING:
    from composer.comparison.compare import Comparison, Gate
    from composer.comparison.dump import Dump


@opens()
def diff(
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="A dump of composer tap, or a bundle to run first with "
                       "the inputs of -i.", show_default=False),
    ],
    choice: BundleFlags,
    input: Inputs = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="X", help="Allow so much relative error at every stage, 0 to 1, in "
                     "place of the reference's noise floor, or of 1e-4 where it has none."),
    ] = None,
    any_float: Annotated[
        bool, typer.Option("--any-float", help="Let floats be of another width.")
    ] = False,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave stages out. May be repeated."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit's XML as well.")
    ] = None,
    json: Json = False,
    ref_variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take a variant of the reference.")
    ] = None,
    ref_precision: Annotated[
        list[str] | None,
        typer.Option(metavar="COMPONENT=DTYPE", help="Run a component of the reference so. May be "
                     "repeated."),
    ] = None,
    task: Task = None,
    set: Settings = None,
) -> None:  # fmt: skip
    """Hold a bundle, or another dump, against a reference, stage by stage.

    Each stage is held twice: with what the bundle itself made before it, and alone on the
    reference's values, so that the first wrong stage is named and not the last. Shapes, dtypes and
    axes must be the same, ids and texts equal, and floats within several gates. Decoding steps are
    replayed with the reference's ids. The exit code is 1 where anything differs.

    Example: composer diff reference.safetensors mega-asr-mini --precision decoder=bfloat16
    """
    from composer.comparison.report import as_json as report_json
    from composer.comparison.report import junit as report_junit
    from composer.comparison.report import table

    first = replace(choice, name=reference, variant=ref_variant, precision=ref_precision, lock=None)
    _sensible(first, choice, input, task, set)
    gate = _gate(tolerance, any_float)
    with waiting(f"holding {choice.name} against {reference}"):
        want = _dump(reference) or dump_of(first, task, input, set)
        found = _compared(want, choice, task, gate, tuple(skip or ()), set)
    for glob in skip or ():
        if not any(fnmatchcase(name, glob) for name in found.skipped):
            near = did_you_mean(glob, [row.name for row in found.rows])
            raise typer.BadParameter(f"--skip {glob} is no stage's name. {near or ''}".rstrip())
    if junit:
        write_file(junit, report_junit(found, f"composer diff {choice.name}"))
    say(as_json(report_json(found)) if json else table(found))
    if not found.ok:
        raise typer.Exit(DIFFERS)


def _dump(name: str) -> Dump | None:
    from composer.comparison.dump import read_dump

    return read_dump(Path(name)) if name.endswith(".safetensors") else None


def _compared(
    want: Dump,
    choice: BundleFlags,
    task: str | None,
    gate: Gate,
    skip: tuple[str, ...],
    set: list[str] | None,
) -> Comparison:
    from composer.cli.values import settings
    from composer.comparison.compare import against_bundle, against_dump
    from composer.comparison.steps import with_steps

    have = _dump(choice.name)
    if have:
        return against_dump(want, have, gate, skip)
    with choice.open() as opened:
        opened.checked = with_steps(opened.checked)
        name = opened.task(task or _task(want, opened.tasks))
        options = settings(opened.checked.graphs[name], set)
        return against_bundle(want, opened, name, gate, skip, options)


def _task(want: Dump, tasks: list[str]) -> str | None:
    """Return the task that the reference was made by, where the bundle has one of that name."""
    task = want.about.get("task")
    return task if task in tasks else None


def _gate(tolerance: float | None, any_float: bool) -> Gate:
    from composer.comparison.compare import Gate
    from composer.comparison.gates import Tolerance

    if tolerance is not None and not 0 <= tolerance < 1:
        raise typer.BadParameter(
            f"--tolerance {tolerance:g} is not from 0 to below 1, where a stage of zeros would pass"
        )
    allowed = None if tolerance is None else Tolerance.scaled(tolerance)
    return Gate(allowed, any_float)


def _sensible(
    first: BundleFlags,
    second: BundleFlags,
    given: list[str] | None,
    task: str | None,
    set: list[str] | None,
) -> None:
    """Refuse options that nothing would read."""
    if first.name.endswith(".safetensors") and (given or first.variant or first.precision):
        raise typer.BadParameter(
            f"{first.name} is a dump and holds its inputs: leave out -i, --ref-variant and "
            "--ref-precision"
        )
    if second.name.endswith(".safetensors") and second != BundleFlags(second.name):
        raise typer.BadParameter(f"{second.name} is a dump: leave out what places a bundle")
    if {Path(first.name).suffix, Path(second.name).suffix} == {".safetensors"} and (task or set):
        raise typer.BadParameter("both are dumps, and nothing is run: leave out --task and --set")
