"""Suggest what to wire in place of a value that does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from composer.core import registry
from composer.core.ports import INTEGERS, Port, can_cast, is_float
from composer.core.suggest import listed
from composer.graph.dims import DimUnifier, Length
from composer.graph.graph import Value

Lengths = Sequence[Length]
PIXELS = (
    "pixels are scaled and normalized first: let the input be an image, and a component prepare it"
)
IDS = "ids become rows first, as by a decoder's method embed"


class WireHints:
    """Hints about one task's values, whose lengths are known as far as `dims` are."""

    def __init__(self, values: Mapping[str, Value], dims: DimUnifier) -> None:
        self.values = values
        self.dims = dims

    def numbered(self, port: Port, lengths: Lengths) -> Port:
        """Return a port with the numbers of its dims that are known."""
        return Port(port.kind, port.dtype, tuple(self.numbers(port, lengths)), port.space)

    def numbers(self, port: Port, lengths: Lengths) -> list[int | str]:
        """Return the dims of a port as numbers where these are known."""
        found: list[int | str] = []
        for dim, length in zip(port.dims, lengths, strict=True):
            bound = None if dim == "_" else self.dims.bound(length)
            found.append(bound.value if bound else dim)
        return found

    def kind(self, actual: Port, wanted: Sequence[Port]) -> str | None:
        """Return what makes a tensor of a value that is none."""
        if all(port.kind != "tensor" for port in wanted):
            return None
        if actual.kind == "text":
            return "a text becomes ids first, by a prompt"
        makers = [name for name in registry.component_names() if name.startswith(f"{actual.kind}.")]
        if not makers:
            return None
        return f"a component takes {actual.kind} first: {listed(makers)}"

    def dtype(self, value: Value, port: Port, lengths: Lengths) -> str | None:
        """Return another output of the same node that fits, or what makes floats of integers."""
        if beside := self._beside(value, port, lengths):
            return beside
        actual = value.port
        if actual and actual.dtype in INTEGERS and is_float(port.dtype):
            return PIXELS if actual.dtype == "u8" else IDS
        return None

    def axes(self, value: Value, port: Port, lengths: Lengths) -> str | None:
        """Return another output of the same node that fits, or the operator that helps."""
        actual = value.port
        assert actual is not None
        hints = [self._beside(value, port, lengths)]
        if len(actual.dims) == 1 and len(port.dims) == 2 and can_cast(actual.dtype, port.dtype):
            hints.append(f"a vector is one row after {{run: row, with: {{x: ${value.name}}}}}")
        if len(actual.dims) == len(port.dims) + 1 and actual.dims[0] == 1:
            shorter = " ".join(map(str, (actual.dtype or "", *actual.dims[1:]))).strip()
            hints.append(f"ports have no axis of the batch: without it, this is '{shorter}'")
        return "; or ".join(filter(None, hints)) or None

    def _beside(self, value: Value, port: Port, lengths: Lengths) -> str | None:
        """Return the other outputs of the node of a value that fit."""
        base = value.name.partition(".")[0]
        found = []
        for other in self.values.values():
            same = other.name.partition(".")[0] == base and other.name != value.name
            if same and self._would_fit(other, port, lengths):
                found.append(f"${other.name}")
        if not found:
            return None
        if len(found) == 1:
            return f"{found[0]} fits"
        return f"these fit: {listed(found)}"

    def _would_fit(self, value: Value, port: Port, lengths: Lengths) -> bool:
        """Return whether a value has the axes of a port, as far as their lengths are known."""
        actual = value.port
        if actual is None or actual.kind != "tensor" or len(actual.dims) != len(port.dims):
            return False
        if not can_cast(actual.dtype, port.dtype):
            return False
        pairs = zip(self.numbers(actual, value.dims), self.numbers(port, lengths), strict=True)
        return all(have == want for have, want in pairs if type(have) is type(want) is int)

    def order(self, value: Value, port: Port, lengths: Lengths) -> str | None:
        """Return how to bring axes into another order, where only that is wrong."""
        assert value.port is not None
        have, want = self.numbers(value.port, value.dims), self.numbers(port, lengths)
        known = all(isinstance(dim, int) for dim in (*have, *want))
        if not known or have == want or Counter(have) != Counter(want):
            return None
        if len(have) == 2:
            return f"its axes are swapped: {{run: transpose, with: {{x: ${value.name}}}}}"
        return f"its axes are in another order: give it as {want}, not {have}"
