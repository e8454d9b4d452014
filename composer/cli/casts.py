"""Say what changes on the way into a step of a run, for `plan` and `show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from composer.graph_drawing.text import PortTexts

if TYPE_CHECKING:
    from composer.runtime.plan import Plan, Step


def casts_of(step: Step, ports: PortTexts) -> Iterator[str]:
    """Yield the casts and crossings of a step, each with its cost in bytes where it is known."""
    for crossing in step.crossings:
        cost = ports.nbytes(crossing.value)
        yield f"cast  {crossing}, {cost}" if cost else f"cast  {crossing}"


def casts_by_node(planned: Plan) -> dict[str, list[str]]:
    """Return them for the nodes of a plan."""
    ports = PortTexts(planned.graph)
    return {step.node.name: list(casts_of(step, ports)) for step in planned.steps}
