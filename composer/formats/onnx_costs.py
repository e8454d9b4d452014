"""Bound what a graph of ONNX computes, as far as shapes that are stored in the file prove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from composer.core.isolation import MEMORY
from composer.formats.onnx_call import Call
from composer.formats.onnx_initializers import Initializers
from composer.formats.onnx_shapes import RULES
from composer.formats.onnx_values import Known

MOST_PRODUCTS = 10**15  # multiplications of one node: an hour of 300 billion a second
Operator = tuple[str, str]


@dataclass
class Costs:
    """The values of one graph whose shapes are known; `report` takes what no run could.

    A value may take what a child may: `MEMORY` beside three times what the file stores.
    """

    stored: Initializers
    report: Callable[[str], None]
    values: dict[str, Known] = field(default_factory=dict)

    def knows(self, operator: str | None) -> bool:
        """Return whether the shapes that an operator gives can be worked out."""
        return operator in RULES

    def visit(self, call: Call, outputs: Sequence[str]) -> None:
        """Work out what a node gives first; report it where no run could take it."""
        result = RULES[call.op](call)
        if result is None or not outputs:
            return
        known, products = result
        what = f"the node {call.name!r} ({call.op})"
        if known.nbytes > MEMORY + 3 * self.stored.nbytes:
            shape = ["?" if length is None else length for length in known.lengths]
            self.report(f"{what} makes {shape}, {known.nbytes / 1e9:.3g} GB at least")
        elif products > MOST_PRODUCTS:
            self.report(f"{what} takes {products:.2g} multiplications at least")
        else:
            self.values[outputs[0]] = known


def unfolded_nodes(
    used: Mapping[Operator, int], calls: Mapping[Operator, Mapping[Operator, int]]
) -> int:
    """Return how many nodes there are once each call of a function is its nodes.

    A function that calls itself counts once: it is refused elsewhere.
    """
    sizes: dict[Operator, int] = {}
    ahead = [*calls]
    while ahead:
        own = ahead[-1]
        inner = [name for name in calls[own] if name in calls and name not in sizes]
        if own in sizes or not inner:
            ahead.pop()
            sizes[own] = _unfolded(calls[own], sizes)
        else:
            sizes[own] = 0  # while those that it calls are counted
            ahead += inner
    return _unfolded(used, sizes)


def _unfolded(uses: Mapping[Operator, int], sizes: Mapping[Operator, int]) -> int:
    return sum(count * (1 + sizes.get(name, 0)) for name, count in uses.items())
