"""Show what a run would do, without running it.

Prints the memory that each component's weights take, and in how many bits they are, and which
decoder continues several texts one by one. Then each step in order: where it runs, what it gives,
what is cast or moved on the way into it and in how many bytes, and which values are dropped after
it.

With --budget it measures on a few clips how far the answers are from those of the bundle as it is
stored, with each component in each precision, and picks those that fit. --apply writes the pick as
a variant, --svg draws what was measured.

Example: composer plan elderwise-mini clips/*.wav --budget 9MB --task transcribe
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, parse_precisions, with_flags
from composer.cli.options import Clips, Force, Task, parse_size
from composer.cli.printing import echo, print_note
from composer.cli.progress import show_progress
from composer.core.text_columns import align

if TYPE_CHECKING:
    from composer.core.output import OutputFile
    from composer.runtime.bundle import Bundle
    from composer.runtime.plan import Plan


@with_flags("trust")
def command(
    bundle: BundleFlags,
    task: Task = None,
    clips: Clips = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Find precisions with which the weights take at most "
                     "this, such as 3GB, and that change the answers to the clips least."),
    ] = None,
    tried: Annotated[
        list[str] | None,
        typer.Option("--try", metavar="RECIPE|DTYPE", help="Try this precision, with --budget. "
                     "Absent: every recipe, float16 and bfloat16. May be repeated."),
    ] = None,
    apply: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write what --budget picks into the manifest, as a "
                     "variant of this name."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw divergence over size into a file, with --budget."),
    ] = None,
    force: Force = False,
) -> None:  # fmt: skip
    from composer.runtime.loading import require_every_port_known

    if budget is not None:
        _budget(bundle, task, clips, parse_size(budget), tried, apply, _target(svg, force))
        return
    if clips or tried or apply or svg:
        raise typer.BadParameter("clips, --try, --apply and --svg belong to --budget")
    opened = bundle.open()
    names = [opened.task(task)] if task is not None else opened.tasks
    graphs = [opened.checked.graphs[name] for name in names]
    require_every_port_known(opened.checked, graphs)
    echo("\n\n".join(_text(opened, opened.plan(name)) for name in names))


def _target(svg: Path | None, force: bool) -> OutputFile | None:
    from composer.core.output import OutputFile

    return OutputFile(svg, force) if svg else None


def _budget(
    bundle: BundleFlags,
    task: str | None,
    clips: list[str] | None,
    nbytes: int,
    tried: list[str] | None,
    apply: str | None,
    drawing: OutputFile | None,
) -> None:
    from composer.cli.budget_table import budget_plot, budget_table
    from composer.jobs.budget import budget
    from composer.manifest.add_variant import add_variant
    from composer.sources.resolve import find_bundle

    for each in tried or ():
        parse_precisions([f"any={each}"], "--try")
    with show_progress() as progress:
        found = budget(
            bundle.options(), nbytes, clips or (), task=task, precisions=tried, progress=progress
        )
    echo("\n".join(budget_table(found)))
    if drawing:
        drawing.write(budget_plot(bundle.name, found))
    if apply and found.pick:
        path = add_variant(find_bundle(bundle.name).path, apply, found.pick.precision)
        print_note(f"{path}: variant {apply}")


def _text(bundle: Bundle, planned: Plan) -> str:
    """Return one task's plan as text."""
    from composer.core.units import format_bytes
    from composer.graph.graph import facts_of

    title = bundle.name
    if len(bundle.tasks) > 1:
        title += f", task {planned.graph.task}"
    total = sum(planned.nbytes.values())
    lines = [title, f"weights: {format_bytes(total)} in memory" if total else "weights: none"]
    rows = [_component(bundle, name, nbytes) for name, nbytes in planned.nbytes.items()]
    lines += (f"  {row}" for row in align(rows))
    lines += _bits(bundle, planned)
    for name in planned.nbytes:
        facts = facts_of(bundle.checked.components, name)
        lines += (f"  cast  {name}: {cast}" for cast in facts.casts)
        if facts.continued_alone:
            lines.append(f"  texts {name}: continued one by one: {facts.continued_alone}")
    for name, entry in planned.graph.inputs.items():
        if entry.split:
            seconds = entry.split.seconds
            lines.append(f"split: ${name} in pieces of {seconds} s, each run by itself")
    lines.append("steps:")
    lines += _steps(planned)
    count = len(planned.crossings)
    lines.append(f"crossings: {count or 'none'}")
    return "\n".join(lines)


def _component(bundle: Bundle, name: str, nbytes: int) -> list[str]:
    from composer.core import registry
    from composer.core.units import format_bytes

    known = bundle.checked.components[name]
    placement = bundle.profile.placement(name, known.cls.placement_keys)
    memory, runs = "-", ""
    if nbytes:
        memory, runs = format_bytes(nbytes), known.dtype or ""
    precision = known.spec.precision
    if precision is not None:
        shown = precision if isinstance(precision, str) else precision.title
        runs += f" (asked: {shown})"
    where = [known.cls.backend]
    if known.is_family:
        where = [f"{known.backend}, chosen: {known.reason}"]
    for key in registry.placement_keys().values():
        if key.name in placement.given:
            where.append(key(placement.get(key.name)))
    return [name, known.cls.name, memory, runs, ", ".join(where)]


def _bits(bundle: Bundle, planned: Plan) -> Iterator[str]:
    from composer.graph.graph import facts_of
    from composer.graph_drawing.text import weight_lines

    for name in planned.nbytes:
        label = f"bits  {name}: "
        for line in weight_lines(facts_of(bundle.checked.components, name).weights):
            yield f"  {label}{line}"
            label = "      "


def _steps(planned: Plan) -> list[str]:
    from composer.cli.casts import casts_of
    from composer.core.units import format_bytes
    from composer.graph_drawing.text import PortTexts, call_text

    ports = PortTexts(planned.graph)
    heads = []
    for number, step in enumerate(planned.steps, 1):
        heads.append([f"{number:>2} {step.node.name}", call_text(step.node), step.backend])
    lines = []
    for head, step in zip(align(heads), planned.steps, strict=True):
        lines += [f"       {cast}" for cast in casts_of(step, ports)]
        lines.append(f"  {head}")
        for value in step.node.outputs.values():
            gives = f"       gives ${value}: {ports[value]}"
            nbytes = planned.value_bytes(value)
            if nbytes is not None:
                gives += f", {format_bytes(nbytes)}"
            lines.append(gives)
        if step.drops:
            lines.append("       drops " + ", ".join(f"${name}" for name in step.drops))
    return lines
