"""Bound what a graph of ONNX computes, as far as shapes that are stored in the file prove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from composer.core.isolation import MEMORY
from composer.formats.file_problems import join_names
from composer.formats.onnx_call import NodeCall
from composer.formats.onnx_initializers import Initializers
from composer.formats.onnx_shapes import RULES
from composer.formats.onnx_values import KnownValue, least_count

MOST_PRODUCTS = 10**15  # multiplications of a run: an hour of 300 billion a second
WRITTEN = 300  # multiplications that take as long as to write one number
VIEWS = frozenset("Constant Identity Reshape Shape Unsqueeze".split())  # they write nothing
NAMED = 3  # of the nodes that cost most
Operator = tuple[str, str]


@dataclass
class Costs:
    """The values of one graph whose shapes are known; `report` takes what no run could.

    A value may take what a child may: `MEMORY` beside three times what the file stores. `work` is
    what each node takes, in multiplications.
    """

    stored: Initializers
    report: Callable[[str], None]
    work: dict[str, int] = field(default_factory=dict)
    values: dict[str, KnownValue] = field(default_factory=dict)

    def knows(self, operator: str | None) -> bool:
        """Return whether the shapes that an operator gives can be worked out."""
        return operator in RULES

    def visit(self, call: NodeCall, outputs: Sequence[str]) -> None:
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
            written = 0 if call.op in VIEWS else WRITTEN * least_count(known.lengths)
            self.work[what] = self.work.get(what, 0) + products + written


class WorkLimits:
    """What the nodes of a file take, in multiplications: those of its graphs, and of its functions.

    `current` is where nodes count now, `is_reported` whether one was more than any run can take.
    """

    def __init__(self) -> None:
        self.current: dict[str, int] = {}
        self.is_reported = False
        self._outside = self.current
        self._inside: dict[Operator, dict[str, int]] = {}

    def enter(self, function: Operator) -> None:
        """Count the nodes of a function from now on."""
        self.current = self._inside.setdefault(function, {})

    def too_much_together(
        self, used: Mapping[Operator, int], calls: Mapping[Operator, Mapping[Operator, int]]
    ) -> str | None:
        """Return what is wrong where no run could take all nodes, each of which it could.

        The nodes of a function count at each call.
        """
        own = {name: sum(work.values()) for name, work in self._inside.items()}
        total = sum(self._outside.values())
        total += inlined_node_count(used, calls, lambda name: own.get(name, 0))
        if total <= MOST_PRODUCTS or self.is_reported:
            return None
        work = dict(self._outside)
        for (_, name), each in self._inside.items():
            work |= {f"{what} in each {name}": cost for what, cost in each.items()}
        most = sorted(work, key=lambda what: -work[what])[:NAMED]
        named = join_names([f"{work[what]:.2g} {what}" for what in most])
        lead = f"its nodes take as long together as {total:.2g} multiplications at least"
        return f"{lead}, most of them {named}"


def inlined_node_count(
    used: Mapping[Operator, int],
    calls: Mapping[Operator, Mapping[Operator, int]],
    own: Callable[[Operator], int] = lambda name: 1,
) -> int:
    """Return how many nodes there are once each call of a function is its nodes.

    `own` is what a call counts, beside the nodes that it becomes. A function that calls itself
    counts once: it is refused elsewhere.
    """
    sizes: dict[Operator, int] = {}
    ahead = [*calls]
    while ahead:
        name = ahead[-1]
        inner = [each for each in calls[name] if each in calls and each not in sizes]
        if name in sizes or not inner:
            ahead.pop()
            sizes[name] = _sum(calls[name], sizes, own)
        else:
            sizes[name] = 0  # while those that it calls are counted
            ahead += inner
    return _sum(used, sizes, own)


def _sum(
    uses: Mapping[Operator, int], sizes: Mapping[Operator, int], own: Callable[[Operator], int]
) -> int:
    return sum(times * (own(name) + sizes.get(name, 0)) for name, times in uses.items())
