"""Measure how fast a bundle starts and runs, and how much memory it takes.

Each start is a process of its own, from nothing to the first output: Python and composer, the
check, loading, the first run. The last one then runs again and again: seconds by node, to the
first token, tokens a second, the real-time factor (wall time over audio, below 1 is faster
than real time). A clip that is not given is the first of the bundle's own clips.

With --vs two bundles, variants or precisions start and run in turns, forth and back, and the
ratios are those within each turn. Nothing is said of what is faster without saying whether
the outputs are the same.

Example: composer bench mega-asr-mini --vs-precision decoder=bfloat16
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.opening import BundleFlags, opens
from composer.cli.options import (
    Inputs,
    Json,
    Settings,
    Task,
)
from composer.cli.printing import note, say
from composer.cli.progress import progress
from composer.core.output import as_json

if TYPE_CHECKING:
    from composer.benchmark.child import Case
    from composer.runtime.bundle import Bundle

CLIPS = "clips"
SUFFIXES = (".aiff", ".flac", ".mp3", ".ogg", ".wav")


@opens()
def command(
    choice: BundleFlags,
    input: Inputs = None,
    vs: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Measure this bundle as well, in turns with the first, "
                     "and tell the ratios."),
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
                     "itself, so. May be repeated."),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Count so many runs of a loaded bundle.")
    ] = 10,
    starts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Count so many starts of a process.")
    ] = 3,
    warmup: Annotated[
        int, typer.Option(min=0, metavar="N", help="Do so many starts and runs before, which do "
                          "not count.")
    ] = 1,
    task: Task = None,
    set: Settings = None,
    json: Json = False,
) -> None:  # fmt: skip
    from composer.benchmark.measure import Measured, Turns, measure
    from composer.benchmark.report import report_json, report_text
    from composer.cli.printing import waiting

    choices = [choice]
    if vs_input and not vs:
        raise typer.BadParameter("--vs-input gives inputs to another bundle: name it by --vs")
    if vs or vs_variant or vs_precision:
        other = replace(choice, variant=vs_variant, precision=vs_precision)
        choices.append(replace(other, name=vs, lock=None) if vs else other)
    turns = Turns(starts, runs, warmup)
    with waiting(f"checking {choice.name}"):
        clips = _clips(choice, task, input)
        given = [*(input or ()), *clips]
        opened = [_opened(choice, task, True, given, set)]
        opened += [_opened(each, task, False, vs_input or given, set) for each in choices[1:]]
    for clip in clips:
        note(f"no audio is given; taking -i {clip}")
    with progress("measuring", turns.total * len(choices), over_results=False) as advance:
        found = measure([case for case, _, _ in opened], turns, advance=advance)
    measured = [
        Measured(_title(each), starts, runs, audio)
        for each, (_, audio, _), (starts, runs) in zip(choices, opened, found, strict=True)
    ]
    if json:
        about = {"bundle": choice.name, "made_by": [made_by for _, _, made_by in opened]}
        say(as_json(report_json(measured, turns, about)))
    else:
        say(report_text(measured, turns))


def _clips(choice: BundleFlags, task: str | None, given: list[str] | None) -> list[str]:
    """Return NAME=CLIP for each audio that is not given, where the bundle comes with clips."""
    from composer.cli.options import pairs

    with choice.open() as opened:
        graph = opened.checked.graphs[_task(opened, task)]
        there = pairs(given, "--input", "NAME=VALUE")
        missing = [k for k, e in graph.inputs.items() if e.type == "audio" and k not in there]
        folder = opened.checked.manifest.folder / CLIPS
        clips = sorted(p for p in folder.glob("*") if p.suffix in SUFFIXES)
    return [f"{name}={_near(clips[0])}" for name in missing if clips]


def _task(bundle: Bundle, task: str | None, named: bool = True) -> str:
    """Return the task that is meant: where none is named, the one that transcribes or the only one.

    A bundle for which it was not `named` may have it under another name.
    """
    from composer.jobs.speech import speech_graph

    return speech_graph(bundle, task if named or task in bundle.tasks else None).task


def _near(path: Path) -> Path:
    """Return a path as it is called from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _opened(
    choice: BundleFlags, task: str | None, named: bool, given: list[str], set: list[str] | None
) -> tuple[Case, float, Mapping[str, Any]]:
    """Return what a process needs to run a bundle, the seconds of its audio, and what made it."""
    from composer.benchmark.child import Case
    from composer.cli.options import folders
    from composer.cli.values import inputs, settings
    from composer.comparison.dump import digest
    from composer.formats.audio import Audio
    from composer.runtime.inputs import read_inputs
    from composer.runtime.provenance import made_from

    with choice.open() as opened:
        name = _task(opened, task, named)
        graph = opened.checked.graphs[name]
        values, options = inputs(graph, given), settings(graph, set)
        heard = {k: v for k, v in read_inputs(graph, values).items() if isinstance(v, Audio)}
        opened.fetch(name)
        plain = {k: v for k, v in values.items() if graph.inputs[k].type != "audio"}
        made_by = made_from(opened, name, plain, options)
        made_by["inputs"] |= {k: str(v) for k, v in values.items() if isinstance(v, str)}
        made_by["digests"] = {name: digest(each) for name, each in heard.items()}
        asked = dict(opened.checked.asked.precision)
    case = Case(
        choice.name,
        choice.variant,
        name,
        folders(choice.source),
        asked,
        opened.profile,
        choice.trust,
        values,
        options,
    )
    return case, sum(each.seconds for each in heard.values()), made_by


def _title(choice: BundleFlags) -> str:
    """Return what tells a bundle from another: its name, variant and precision."""
    variant = [f"variant {choice.variant}"] if choice.variant else []
    return ", ".join([choice.name, *variant, *(choice.precision or ())])
