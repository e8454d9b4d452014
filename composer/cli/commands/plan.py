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

    several = len(bundle.tasks) > 1
    lines = [bundle.name + (f", task {planned.graph.task}" if several else "")]
    total = sum(planned.nbytes.values())
    lines.append(f"weights: {size(total)} in memory" if total else "weights: none")
    rows = [_component(bundle, name, nbytes) for name, nbytes in planned.nbytes.items()]
    lines += _columns(rows)
    lines += _bits(bundle, planned)
    lines += [
        f"  cast  {name}: {cast}"
        for name in planned.nbytes
        if (facts := bundle.checked.components[name].facts)
        for cast in facts.casts
    ]
    lines += [
        f"split: ${name} in pieces of {entry.split.seconds} s, each run by itself"
        for name, entry in planned.graph.inputs.items()
        if entry.split
    ]
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
    facts = known.facts
    runs = facts.dtype if facts and nbytes else ""
    precision = known.spec.precision
    if precision is not None:
        shown = precision if isinstance(precision, str) else precision.title
        runs += f" (asked: {shown})"
    chosen = f"{known.backend}, chosen: {known.reason}"
    where = [chosen if known.is_family else known.cls.backend]
    keys = registry.placement_keys()
    where += [key(placement.get(name)) for name, key in keys.items() if name in placement.given]
    return [name, known.cls.name, size(nbytes) if nbytes else "-", runs, ", ".join(where)]


def _bits(bundle: Bundle, planned: Plan) -> Iterator[str]:
    from composer.drawing.text import weight_lines

    for name in planned.nbytes:
        facts = bundle.checked.components[name].facts
        label = f"bits  {name}: "
        for line in weight_lines(facts.weights if facts else ()):
            yield f"  {label}{line}"
            label = "      "


def _steps(planned: Plan) -> list[str]:
    from composer.drawing.text import Ports, call, size

    ports = Ports(planned.graph)
    heads = [
        [f"{number:>2} {step.node.name}", call(step.node), step.backend]
        for number, step in enumerate(planned.steps, 1)
    ]
    lines = []
    for head, step in zip(_columns(heads), planned.steps, strict=True):
        for crossing in step.crossings:
            cost = ports.nbytes(crossing.value)
            lines.append(f"       cast  {crossing}" + (f", {cost}" if cost else ""))
        lines.append(head)
        for value in step.node.outputs.values():
            nbytes = planned.value_bytes(value)
            memory = f", {size(nbytes)}" if nbytes is not None else ""
            lines.append(f"       gives ${value}: {ports[value]}{memory}")
        if step.drops:
            lines.append("       drops " + ", ".join(f"${name}" for name in step.drops))
    return lines


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    found: list[str] = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        found.append("  " + "  ".join(padded).rstrip())
    return found
