"""Compare a bundle, or another dump, with a reference, stage by stage.

Each stage is compared twice: with what the bundle itself made before it, and alone on the
reference's values, so that the first wrong stage is named and not the last. Shapes, dtypes and
axes must be the same, ids and texts equal, and floats within several gates. Decoding steps are
replayed with the reference's ids. The exit code is 1 where anything differs.

Two sides on one backend, in one precision, may differ by rounding. Otherwise the noise that the
dump has measured (tap --floor) is allowed, but not what is systematic over all clips. Beside a pass
stands the smallest fault of each kind that would have been found.

Example: composer diff reference.safetensors mega-asr-mini --precision decoder=bfloat16
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, TaskFlags, with_flags
from composer.cli.options import Clips, Force, Json
from composer.cli.printing import echo
from composer.cli.progress import show_progress
from composer.core.errors import DIFFERS
from composer.core.output import OutputFile, json_text

if TYPE_CHECKING:
    from composer.comparison.dump import Dump
    from composer.jobs.bundle import Options
    from composer.jobs.progress import OnProgress
    from composer.runtime.bundle import Bundle


@with_flags()
def command(
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="A dump of composer tap, or a bundle to run first with "
                       "CLIP... or the inputs of -i.", show_default=False),
    ],
    bundle: BundleFlags,
    flags: TaskFlags,
    clips: Clips = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="X", help="Allow this relative error at every stage, 0 to 1, in "
                     "place of what the two sides and the noise floor allow."),
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
    force: Force = False,
    ref_variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take a variant of the reference.")
    ] = None,
    ref_precision: Annotated[
        list[str] | None,
        typer.Option(metavar="COMPONENT=DTYPE", help="Run a component of the reference in this "
                     "precision. May be repeated."),
    ] = None,
) -> None:  # fmt: skip
    from composer.comparison.report import as_json as report_json
    from composer.comparison.report import junit as report_junit
    from composer.comparison.report import table
    from composer.jobs.compare import compare, make_stage_judge

    target = OutputFile(junit, force) if junit else None
    first = replace(bundle, name=reference, variant=ref_variant, precision=ref_precision, lock=None)
    _check_flags(first, bundle, flags, clips)
    make_stage_judge(tolerance, any_float)  # refuses a tolerance before anything is run
    with show_progress() as progress:
        expected = _reference(first, flags, clips or [], progress)
        with _candidate(bundle) as candidate:
            options = _options(candidate, expected, flags)
            found = compare(
                expected,
                candidate,
                task=flags.task,
                options=options,
                tolerance=tolerance,
                any_float=any_float,
                skip=skip or (),
                progress=progress,
            )
    if target:
        target.write(report_junit(found, f"composer diff {bundle.name}"))
    echo(json_text(report_json(found)) if json else table(found))
    if not found.ok:
        raise typer.Exit(DIFFERS)


def _reference(
    bundle: BundleFlags, flags: TaskFlags, clips: list[str], progress: OnProgress
) -> Dump:
    """Return the reference's dump: read, or made by its bundle, which is closed afterwards."""
    from composer.comparison.dump import read_dump
    from composer.jobs.record import record, replay_graph

    if _is_dump(bundle.name):
        return read_dump(Path(bundle.name))
    with bundle.open() as opened:
        values, options = flags.read(replay_graph(opened, flags.task))
        return record(
            opened, values, clips=clips, task=flags.task, options=options, progress=progress
        )


@contextmanager
def _candidate(bundle: BundleFlags) -> Iterator[Dump | Bundle]:
    from composer.comparison.dump import read_dump

    if _is_dump(bundle.name):
        yield read_dump(Path(bundle.name))
        return
    with bundle.open() as opened:
        yield opened


def _options(candidate: Dump | Bundle, reference: Dump, flags: TaskFlags) -> Options | None:
    """Return the options of `--set` as the candidate's task takes them."""
    from composer.cli.values import parse_options
    from composer.comparison.dump import Dump
    from composer.jobs.compare import matching_task
    from composer.jobs.record import replay_graph

    if isinstance(candidate, Dump):
        return None
    name = flags.task or matching_task(reference, candidate.tasks)
    return parse_options(replay_graph(candidate, name), flags.set)


def _is_dump(name: str) -> bool:
    """Return whether a command line names a dump, and not a bundle."""
    return name.endswith(".safetensors")


def _check_flags(
    first: BundleFlags, second: BundleFlags, flags: TaskFlags, clips: list[str] | None
) -> None:
    """Refuse options that nothing would read."""
    if _is_dump(first.name) and (clips or flags.input or first.variant or first.precision):
        raise typer.BadParameter(
            f"{first.name} is a dump and holds its inputs: leave out clips, -i, "
            "--ref-variant and --ref-precision"
        )
    if _is_dump(second.name) and second != BundleFlags(second.name):
        raise typer.BadParameter(f"{second.name} is a dump: leave out what places a bundle")
    if _is_dump(first.name) and _is_dump(second.name) and (flags.task or flags.set):
        raise typer.BadParameter("both are dumps, and nothing is run: leave out --task and --set")
