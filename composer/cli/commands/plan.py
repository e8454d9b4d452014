"""Show what a run would do, without running it.

Prints the memory that each component's weights take, and in how many bits they are, then each step
in order: where it runs, what it gives, what is cast or moved on the way into it and in how many
bytes, and which values are dropped after it.

Example: composer plan mega-asr-mini
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from composer.cli.flags import BundleFlags, with_flags
from composer.cli.options import (
    Task,
)
from composer.cli.printing import echo
from composer.core.columns import align
from composer.graph.graph import facts_of

if TYPE_CHECKING:
    from composer.runtime.bundle import Bundle
    from composer.runtime.plan import Plan


@with_flags("trust")
def command(
    bundle: BundleFlags,
    task: Task = None,
) -> None:
    from composer.runtime.loading import require_known_ports

    opened = bundle.open()
    names = [opened.task(task)] if task is not None else opened.tasks
    graphs = [opened.checked.graphs[name] for name in names]
    require_known_ports(opened.checked, graphs)
    echo("\n\n".join(text(opened, opened.plan(name)) for name in names))


def text(bundle: Bundle, planned: Plan) -> str:
    """Return one task's plan as text."""
    from composer.drawing.text import size

    title = bundle.name
    if len(bundle.tasks) > 1:
        title += f", task {planned.graph.task}"
    total = sum(planned.nbytes.values())
    lines = [title, f"weights: {size(total)} in memory" if total else "weights: none"]
    rows = [_component(bundle, name, nbytes) for name, nbytes in planned.nbytes.items()]
    lines += (f"  {row}" for row in align(rows))
    lines += _bits(bundle, planned)
    for name in planned.nbytes:
        for cast in facts_of(bundle.checked.components, name).casts:
            lines.append(f"  cast  {name}: {cast}")
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
    from composer.drawing.text import size

    known = bundle.checked.components[name]
    placement = bundle.profile.placement(name, known.cls.placement_keys)
    memory, runs = "-", ""
    if nbytes:
        memory, runs = size(nbytes), known.dtype or ""
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
    from composer.drawing.text import weight_lines

    for name in planned.nbytes:
        label = f"bits  {name}: "
        for line in weight_lines(facts_of(bundle.checked.components, name).weights):
            yield f"  {label}{line}"
            label = "      "


def _steps(planned: Plan) -> list[str]:
    from composer.drawing.text import Ports, call, size

    ports = Ports(planned.graph)
    heads = []
    for number, step in enumerate(planned.steps, 1):
        heads.append([f"{number:>2} {step.node.name}", call(step.node), step.backend])
    lines = []
    for head, step in zip(align(heads), planned.steps, strict=True):
        for crossing in step.crossings:
            cast = f"       cast  {crossing}"
            cost = ports.nbytes(crossing.value)
            if cost:
                cast += f", {cost}"
            lines.append(cast)
        lines.append(f"  {head}")
        for value in step.node.outputs.values():
            gives = f"       gives ${value}: {ports[value]}"
            nbytes = planned.value_bytes(value)
            if nbytes is not None:
                gives += f", {size(nbytes)}"
            lines.append(gives)
        if step.drops:
            lines.append("       drops " + ", ".join(f"${name}" for name in step.drops))
    return lines
