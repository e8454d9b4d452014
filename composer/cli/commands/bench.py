"""Measure how fast a bundle starts and runs, and how much memory it takes.

Each start is a process of its own, from nothing to the first output: Python and composer, the
check, loading, the first run. The last one then runs again and again: seconds by node, to the
first token, tokens a second, the real-time factor (wall time over audio, below 1 is faster
than real time). A clip that is not given is the first of the bundle's own clips.

With --vs two bundles, variants or precisions start and run in turns, and the
ratios are those within each turn. The report also says whether the outputs are the same.

Example: composer bench mega-asr-mini --vs-precision decoder=bfloat16
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from composer.cli.flags import BundleFlags, TaskFlags, with_flags
from composer.cli.options import Json, split_pairs
from composer.cli.printing import echo, print_note
from composer.cli.progress import show_progress
from composer.core.output import json_text


@with_flags()
def command(
    bundle: BundleFlags,
    flags: TaskFlags,
    vs: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Measure this bundle as well, in turns with the first, "
                     "and report the ratios."),
    ] = None,
    vs_variant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take a variant of OTHER, or of BUNDLE itself."),
    ] = None,
    vs_input: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Give OTHER these inputs, and no others. May be "
                     "repeated."),
    ] = None,
    vs_precision: Annotated[
        list[str] | None,
        typer.Option(metavar="COMPONENT=DTYPE", help="Run a component of OTHER, or of BUNDLE "
                     "itself, in this precision. May be repeated."),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Count N runs of a loaded bundle.")
    ] = 10,
    starts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Count N starts of a process.")
    ] = 3,
    warmup: Annotated[
        int, typer.Option(min=0, metavar="N", help="Do N starts and runs before, which do "
                          "not count.")
    ] = 1,
    json: Json = False,
) -> None:  # fmt: skip
    from composer.benchmarking.measure import RunCounts
    from composer.benchmarking.report import report_json, report_text
    from composer.cli.values import parse_inputs, parse_options
    from composer.jobs.benchmark import benchmark, bundled_clips
    from composer.jobs.speech import speech_graph

    if vs_input and not vs:
        raise typer.BadParameter("--vs-input gives inputs to another bundle: name it by --vs")
    with show_progress() as progress:
        with bundle.open() as opened:
            graph = speech_graph(opened, flags.task)
            clips = bundled_clips(opened, graph, split_pairs(flags.input, "--input", "NAME=VALUE"))
            given = [*(flags.input or ()), *(f"{name}={clip}" for name, clip in clips.items())]
            values, options = parse_inputs(graph, given), parse_options(graph, flags.set)
        other, other_values = _other(bundle, vs, vs_variant, vs_precision), None
        if other:
            with other.open() as opened:
                graph = speech_graph(opened, flags.task if flags.task in opened.tasks else None)
                other_values = parse_inputs(graph, vs_input or given)
        for name, clip in clips.items():
            print_note(f"no audio is given; taking -i {name}={clip}")
        found = benchmark(
            bundle.options(),
            other=other.options() if other else None,
            inputs=values,
            other_inputs=other_values,
            task=flags.task,
            options=options,
            turns=RunCounts(starts, runs, warmup),
            progress=progress,
        )
    if json:
        about = {"bundle": bundle.name, "made_by": list(found.made_by)}
        echo(json_text(report_json(found.measured, found.turns, about)))
    else:
        echo(report_text(found.measured, found.turns))


def _other(
    bundle: BundleFlags, name: str | None, variant: str | None, precision: list[str] | None
) -> BundleFlags | None:
    """Return what the bundle is measured in turns with: another one, or an edition of it."""
    if not (name or variant or precision):
        return None
    other = replace(bundle, variant=variant, precision=precision)
    return replace(other, name=name, lock=None) if name else other
