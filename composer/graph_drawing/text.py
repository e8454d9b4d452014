"""Write parts of a graph as short text: ports whose dims are named once, sizes, and calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from composer.core.call_signature import CALL
from composer.core.component import Facts
from composer.core.ports import item_bytes
from composer.core.units import format_bytes
from composer.core.weight_group import WeightGroup, bits_per_weight
from composer.graph.dims import Length

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node


def call_text(node: Node) -> str:
    """Return a node's call: what runs, on which values and literals."""
    arguments = []
    for key, name in node.wires.items():
        arguments.append(key if key == name else f"{key}={name}")
    for key, value in {**node.literals, **node.options}.items():
        arguments.append(f"{key}={value!r}")
    run = node.run.removesuffix(f".{CALL}")
    return f"{run}({', '.join(arguments)})"


def weight_lines(groups: Iterable[WeightGroup]) -> Iterator[str]:
    """Yield how the weights of a component are packed, a line each; nothing where none is."""
    groups = tuple(groups)
    if not any(group.packed for group in groups):
        return
    yield f"{bits_per_weight(groups):.3g} bits a weight"
    for group in groups:
        modules = f"{group.modules} module{'' if group.modules == 1 else 's'}"
        yield f"  {group.kind}: {group.form}, {modules}, {format_bytes(group.nbytes)}"


def weights_text(facts: Facts) -> str:
    """Return the dtype, the bits and the bytes of a component's weights; "" where it has none."""
    if not facts.nbytes:
        return ""
    packed = any(group.packed for group in facts.weights)
    bits = f"{bits_per_weight(facts.weights):.3g} bits a weight" if packed else ""
    return ", ".join(filter(None, (str(facts.dtype or ""), bits, format_bytes(facts.nbytes))))


class PortTexts:
    """The ports of one graph's values as text.

    A dim that headers fix is a number. Any other is a symbol, and two dims have the same symbol
    only where they are known to have the same length.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._symbols: dict[Length, str] = {}
        for value in graph.values.values():
            if value.port is not None:
                for dim, symbol in zip(value.dims, value.port.dims, strict=True):
                    self._name(dim, str(symbol))

    def _name(self, dim: Length, symbol: str) -> None:
        root = self._root(dim)
        if symbol == "_" or symbol.isdigit() or root in self._symbols:
            return
        taken, number = set(self._symbols.values()), 1
        name = symbol
        while name in taken:
            number += 1
            name = f"{symbol}{number}"
        self._symbols[root] = name

    def _root(self, dim: Length) -> Length:
        if isinstance(dim, int):
            return dim
        return self._graph.dims.root(dim)

    def dim(self, dim: Length) -> str:
        """Return one dim: its number, its symbol, or `_`."""
        length = self._graph.length(dim)
        if length is None:
            return self._symbols.get(self._root(dim), "_")
        return str(length)

    def nbytes(self, name: str) -> str:
        """Return the bytes of a tensor, times the symbols of what is not fixed; "" of another."""
        value = self._graph.values.get(name)
        if value is None or value.port is None or value.port.kind != "tensor":
            return ""
        total, symbols = item_bytes(value.port.dtype or "f32"), []
        for dim in value.dims:
            length = self._graph.length(dim)
            if length is None:
                symbols.append(self.dim(dim))
            else:
                total *= length
        return " x ".join([format_bytes(total), *symbols])

    def __getitem__(self, name: str) -> str:
        value = self._graph.values.get(name)
        if value is None or value.port is None:
            return "unknown"
        port = value.port
        head = port.kind
        if port.kind == "tensor":
            head = port.dtype or "float"
        words = [head, *map(self.dim, value.dims)]
        if port.space:
            words.append(f"@{port.space}")
        return " ".join(words)
