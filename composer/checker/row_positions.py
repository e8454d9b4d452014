"""Check that rows go to the positions that were marked for them, each position once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from composer.checker.wire_checker import WireChecker
from composer.core.component import Bound
from composer.core.suggest import listed
from composer.graph.graph import Node, Value


class RowPositions:
    """The masks of one task that mark a position for each row of some value."""

    def __init__(
        self,
        values: Mapping[str, Value],
        nodes: Mapping[str, Node],
        fit: WireChecker,
        report: Callable[..., None],
    ) -> None:
        self.values = values
        self.nodes = nodes
        self.fit = fit
        self.report = report

    def check(self, node: Node) -> None:
        """Compare the rows that a node puts at marks with those that the marks were made for."""
        for key, ports in node.inputs.items():
            mark = self.values.get(node.wires.get(key, ""))
            wires = [node.wires.get(each, "") for each in ports[0].marks]
            if mark is None or not mark.marks or not wires or not set(wires) <= set(self.values):
                continue
            expected = self.rows(mark.marks)
            given = self.rows(wires)
            if given == expected:
                continue
            if set(given) & set(self.rows(self.slots(mark))):
                self._report_other_rows(node, ports[0].marks[0], mark, given, expected)
            else:
                self._compare_counts(node, key, mark, wires)
        self._check_base(node)

    def _check_base(self, node: Node) -> None:
        """Report a scatter over the rows of an earlier one, whose output it writes into."""
        if node.component or node.run != "scatter":
            return
        own = self.positions(node)
        base = self._producer(node.wires.get("base", ""))
        while base and base.component is None and base.run == "scatter":
            if own & self.positions(base):
                self.report(
                    "W228",
                    f"'{node.name}' and '{base.name}' scatter into the same marks: "
                    f"${node.wires['at']} and ${base.wires['at']}",
                    "graph",
                    node.name,
                    "with",
                    "at",
                    causes=(f"'{node.name}' writes over the rows of '{base.name}', its base",),
                    hint=self._own_marks(node),
                )
                return
            base = self._producer(base.wires.get("base", ""))

    def positions(self, node: Node) -> set[str]:
        """Return what a scatter's marks stand for: slots as `asked.speech`, or the mask itself."""
        at = node.wires.get("at", "")
        if not at:
            return set()
        producer, mark = self._producer(at), self.values.get(at)
        if producer is None or mark is None or mark.port is None or not mark.marks:
            return {at}
        return {f"{producer.name}.{slot}" for slot in mark.port.marks if producer.wires_of(slot)}

    def _own_marks(self, node: Node) -> str:
        """Return a hint: the marks that were made for the rows that a scatter puts."""
        given = self.rows([node.wires.get("values", "")])
        mark = self.values[node.wires["at"]]
        for slot in self._own_slots(mark):
            if slot.marks != mark.marks and self.rows(slot.marks) == given:
                return f"their own marks are ${slot.name}"
        return "leave one of the two out, or take other marks"

    def rows(self, names: Iterable[str]) -> list[str]:
        """Return the names of the values whose rows some values have, in order."""
        found: list[str] = []
        for name in names:
            found.extend(self.values[name].origin)
        return found

    def _producer(self, value: str) -> Node | None:
        """Return the node that gives a value."""
        return self.nodes.get(value.partition(".")[0])

    def slots(self, mark: Value) -> list[str]:
        """Return the values that are wired to the slots of the prompt that made a mask."""
        return list(dict.fromkeys(wire for each in self.siblings(mark) for wire in each.marks))

    def siblings(self, mark: Value) -> Iterator[Value]:
        """Yield the masks of the prompt that made a mask."""
        producer = self._producer(mark.name)
        if producer is None:
            return
        for name in producer.outputs.values():
            value = self.values.get(name)
            if value and value.marks:
                yield value

    def _own_slots(self, mark: Value) -> list[Value]:
        """Return those of a prompt's masks that mark a single slot by its name."""
        return list(filter(_slot, self.siblings(mark)))

    def _report_other_rows(
        self, node: Node, key: str, mark: Value, given: list[str], expected: list[str]
    ) -> None:
        """Report rows that were counted for another slot, or are in another order."""
        fitting = [each for each in self._own_slots(mark) if self.rows(each.marks) == given]
        if fitting:
            hint = f"their own marks are ${fitting[0].name}"
        elif sorted(given) == sorted(expected):
            hint = "join them in the order of the template, or scatter each into its own marks"
        else:
            own = [f"${each.name}" for each in self._own_slots(mark)]
            hint = "rename the slots, so that each has marks of its own"
            if own:
                hint = f"scatter each into its own marks: {listed(own)}"
        # A row has the name of the value that was wired to its slot, as the author knows it.
        names = {self.values[wire].origin: f"${wire}" for wire in self.slots(mark)}
        causes = []
        for slot in self._own_slots(mark):
            rows = _then(self.rows(slot.marks), names)
            causes.append(f"the slot '{_slot(slot)}' has the rows of {rows}")
        self.report(
            "W227",
            f"${mark.name} marks the rows of {_then(expected, names)}, but {node.run}.{key} has "
            f"those of {_then(given, names)}",
            "graph",
            node.name,
            "with",
            key,
            causes=tuple(causes),
            hint=hint,
        )

    def _compare_counts(self, node: Node, key: str, mark: Value, wires: list[str]) -> None:
        """Compare the numbers of rows and of marks, where headers fix both."""
        if len(mark.marks) == 1 and len(wires) == 1:
            conflict = self.fit.same_rows(wires[0], mark.marks[0])
            if conflict is None:
                return
            rows, marked = conflict.left, conflict.right
        else:
            given, expected = self.fit.total_rows(wires), self.fit.total_rows(mark.marks)
            if given is None or expected is None or given.value == expected.value:
                return
            rows, marked = given, expected
        self.report(
            "W209",
            f"axis 0 of ${wires[0]} is {rows.value} but ${mark.name} marks {marked.value}",
            "graph",
            node.name,
            "with",
            key,
            causes=(_cause(rows), _cause(marked)),
            hint="the prompt counts the rows that are wired to its slot: wire these very rows",
        )


def _slot(mark: Value) -> str | None:
    """Return the slot of a mask that is named after it."""
    out = mark.name.partition(".")[2]
    if mark.port is None or mark.port.marks != (out,):
        return None
    return out


def _then(rows: list[str], names: Mapping[tuple[str, ...], str]) -> str:
    return ", then ".join(names.get((row,), f"${row}") for row in rows)


def _cause(bound: Bound) -> str:
    return f"{bound.value} comes from {bound.witness}"
